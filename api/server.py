"""Runs the API with uvicorn."""

from __future__ import annotations

from api.settings import ApiSettings

__all__ = ["serve"]


def serve(settings: ApiSettings, host: str = "127.0.0.1", port: int = 8080, *, log_level: str = "info") -> None:
    """Serve until stopped (Ctrl-C or SIGTERM).

    Parameters
    ----------
    settings
        What to serve.
    host, port
        Where to listen; port 0 takes a free one.
    log_level
        What uvicorn prints: critical, error, warning, info, debug.

    Raises
    ------
    StacpinError
        If the catalog cannot be opened; nothing listens then.
    """
    import uvicorn

    from api.app import create_app

    # Without ``proxy_headers`` uvicorn, too, believes no X-Forwarded-* header.
    uvicorn.run(create_app(settings), host=host, port=port, log_level=log_level, proxy_headers=settings.proxy_headers)
