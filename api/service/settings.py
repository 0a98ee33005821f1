"""What an operator sets of a running service: workers, time limits, metrics, traces, logs, who may ask from where."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["MetricsAddress", "ServiceSettings"]

_PORT = 65_535
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})")


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where metrics are answered beside the API: nowhere in it, so that what the public sees has none."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> MetricsAddress:
        """``9464``, ``0.0.0.0:9464`` or ``[::1]:9464``; ValueError for anything else."""
        host, colon, port = text.rpartition(":")
        if not port.isascii() or not port.isdigit() or len(port) > len(str(_PORT)) or not 0 <= int(port) <= _PORT:
            raise ValueError(f"metrics {text!r} is neither 'path' nor a port, nor an address and a port")
        if not colon:
            return cls("127.0.0.1", int(port))
        bracketed = host.startswith("[") and host.endswith("]")
        plain = host[1:-1] if bracketed else host
        try:
            ipaddress.IPv6Address(plain) if bracketed else None
        except ValueError as error:
            raise ValueError(f"metrics {text!r} has no IPv6 address in its brackets") from error
        if not bracketed and not _NAME.fullmatch(plain):
            raise ValueError(f"metrics {text!r} names no host; IPv6 addresses are written in brackets")
        return cls(plain, int(port))


class ServiceSettings(BaseModel):
    """The part of the settings that is about running, not about what is served.

    ``metrics`` is off unless set. A port of its own (``9464``, ``0.0.0.0:9464``) is how it is meant: numbers about all
    datasets and all users are nobody's business but the operator's, and a scraper needs no token there. ``path`` serves
    them at ``/_mgmt/metrics`` of the API, where a proxy keeps ``/_mgmt/`` to itself.

    Limits are for each worker. ``request_seconds`` is the time until an answer begins, ``client_seconds`` the time that
    a client may take to send its request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=1, ge=1, le=128)
    max_connections: int = Field(default=1_000, ge=1, le=100_000)
    # Longer than the 60 s for which proxies keep a connection: otherwise they send requests into closed ones.
    keep_alive_seconds: int = Field(default=65, ge=1, le=3_600)
    client_seconds: float = Field(default=30, gt=0, le=3_600)
    request_seconds: float = Field(default=60, gt=0, le=3_600)
    shutdown_seconds: int = Field(default=25, ge=1, le=3_600)
    drain_seconds: float = Field(default=0, ge=0, le=600)
    cors_origins: tuple[str, ...] = ("*",)
    metrics: str | None = None
    otel: bool = False
    log_format: Literal["text", "json"] = "text"
    log_requests: bool = False

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            plain = parts.scheme in {"http", "https"} and parts.netloc and f"{parts.scheme}://{parts.netloc}" == origin
            if origin != "*" and (not plain or "@" in parts.netloc or "*" in origin):
                raise ValueError(f"cors_origins has {origin!r}: neither * nor an origin such as https://example.org")
        if "*" in value and len(value) > 1:
            raise ValueError("cors_origins has * and others: * alone is every origin")
        return value

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: str | None) -> str | None:
        if value is not None and value != "path":
            MetricsAddress.parse(value)
        return value

    @property
    def metrics_address(self) -> MetricsAddress | None:
        """Where metrics have a port of their own; None if they have none."""
        return None if self.metrics in {None, "path"} else MetricsAddress.parse(self.metrics or "")
