"""Runs the API with uvicorn."""

from __future__ import annotations

import ipaddress

from api.settings import ApiSettings
from versioning.errors import InvalidInput

__all__ = ["check_exposed", "serve"]


def check_exposed(settings: ApiSettings, host: str, *, public: bool) -> None:
    """Refuse to give a catalog to a network without a word about who may read it.

    Raises
    ------
    InvalidInput
        If the address is not this machine's alone and there are neither access settings nor ``public``, or both.
    """
    if public and settings.access is not None:
        raise InvalidInput(
            "Everybody may read, and access settings say who may: only one can be meant.",
            hint='Leave --public out; public = ["*"] in the settings shows all datasets to everybody.',
        )
    if not public and settings.access is None and not _is_loopback(host):
        raise InvalidInput(
            f"Others can reach {host or 'every address of this machine'}, and nothing says who may read.",
            hint="Name access settings (--access FILE, see docs/access.md), or say that everybody may read: --public.",
            kind="unprotected",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    settings: ApiSettings,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    public: bool = False,
    log_level: str = "info",
) -> None:
    """Serve until stopped (Ctrl-C or SIGTERM).

    Parameters
    ----------
    settings
        What to serve.
    host, port
        Where to listen; port 0 takes a free one.
    public
        Whether everybody who reaches the address may read everything: said on purpose, or access settings are needed.
    log_level
        What uvicorn prints: critical, error, warning, info, debug.

    Raises
    ------
    InvalidInput
        If others can reach the address, and nothing says who may read.
    StacpinError
        If the catalog cannot be opened; nothing listens then.
    """
    check_exposed(settings, host, public=public)
    import uvicorn

    from api.app import create_app

    # Without ``proxy_headers`` uvicorn, too, believes no X-Forwarded-* header.
    uvicorn.run(create_app(settings), host=host, port=port, log_level=log_level, proxy_headers=settings.proxy_headers)
