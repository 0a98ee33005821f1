"""What the API is told: which catalog, under which address, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator

from api.access.settings import AccessSettings
from api.service.settings import ServiceSettings

__all__ = ["ApiSettings"]


class ApiSettings(ServiceSettings):
    """Settings of one API; nothing is read from the environment, so two can live in one process.

    Those about running it are :class:`api.service.settings.ServiceSettings`.

    ``database_url`` is where the catalog's index is; without it everything is read from the catalog itself.
    ``public_url`` is the address that clients use, where a proxy stands in front; otherwise links are made from the
    ``Host`` header. ``proxy_headers`` trusts ``Forwarded``, ``X-Forwarded-For``, ``-Host``, ``-Port`` and ``-Proto``:
    only where every request passes a proxy that sets them, since answers are cached by others and a forged address
    would stay in their caches. ``access`` says who may read; None lets everybody read everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalog: str
    database_url: SecretStr | None = None
    database_pool: int = Field(default=8, ge=1, le=200)
    title: str = ""
    description: str = "Pinned geospatial datasets: every version is an immutable STAC Collection."
    public_url: str | None = None
    root_path: str = ""
    proxy_headers: bool = False
    browser_dir: Path | None = None
    browser_options: dict[str, Any] = Field(default_factory=dict)
    max_limit: int = Field(default=10_000, ge=1, le=10_000)
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    max_search_seconds: float = Field(default=20, gt=0)
    max_diff_items: int = Field(default=200_000, ge=1)
    access: AccessSettings | None = None
    max_drawings: int = Field(default=2, ge=1, le=64)
    max_drawings_waiting: int = Field(default=64, ge=0)
    max_tile_items: int = Field(default=500, ge=1, le=10_000)
    max_tile_features: int = Field(default=20_000, ge=1)
    max_tile_bytes: int = Field(default=1024 * 1024, ge=1024)

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"public_url {value!r} is not an address such as https://example.org/stac")
        return value.rstrip("/")

    @field_validator("root_path")
    @classmethod
    def _rooted(cls, value: str) -> str:
        plain = value.rstrip("/")
        if plain and not plain.startswith("/"):
            raise ValueError(f"root_path {value!r} must begin with /")
        return plain

    @property
    def browser(self) -> Path:
        """The folder of the built STAC Browser."""
        return self.browser_dir or Path(__file__).resolve().parent / "browser" / "dist"
