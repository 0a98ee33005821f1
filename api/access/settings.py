"""What a file of access settings says: tokens, OIDC, public datasets, keys of hrefs, rates, the log of reads."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from api.access.scopes import check_pattern, check_scope
from versioning.errors import InvalidInput, NotFound

__all__ = [
    "ASYMMETRIC",
    "AccessSettings",
    "HrefSettings",
    "LogSettings",
    "OidcSettings",
    "RateSettings",
    "Secret",
    "TokenSettings",
    "load_access",
]

# Those of RFC 7518, 8037 and 9864 whose verifier holds nothing that could sign. "none" is never among the allowed.
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_SHARED = ("HS256", "HS384", "HS512")
_SHORTEST_KEY = 32
_BESIDE = "folder"
_HOLDS = "It holds a secret of the access settings."


def _valid(check: Any) -> Any:
    """A check of ours as one of pydantic's."""

    def checked(value: str) -> str:
        try:
            return check(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    return AfterValidator(checked)


Pattern = Annotated[str, _valid(check_pattern)]
Scope = Annotated[str, _valid(check_scope)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Secret(_Table):
    """A secret: in a file, in an environment variable, or written out. Read when the API starts."""

    file: Path | None = None
    env: str | None = None
    value: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if sum(source is not None for source in (self.file, self.env, self.value)) != 1:
            raise ValueError("give one of file, env and value")
        return self

    def read(self, folder: Path) -> str:
        """The secret, without white space around it.

        Raises
        ------
        InvalidInput
            If the file or the variable is not there, or empty.
        """
        place = f"The file {self.file}" if self.file else f"The environment variable {self.env}"
        try:
            if self.file is not None:
                text: str | None = (folder / self.file).read_text(encoding="utf-8")
            else:
                text = os.environ.get(self.env) if self.env is not None else self.value
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InvalidInput(f"{place} cannot be read: {why}.", hint=_HOLDS) from error
        if not text or not text.strip():
            raise InvalidInput(f"{place} is empty or not there.", hint=_HOLDS)
        return text.strip()


class TokenSettings(_Table):
    """A static token: who has it, and the sha256 of it in hex. ``stacpin token`` makes both."""

    name: str = Field(min_length=1, max_length=200)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | Secret
    scopes: tuple[Scope, ...] = ()
    expires: datetime | None = None

    @field_validator("expires")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("expires needs its time zone: 2027-01-31T00:00:00Z")
        return value


class OidcSettings(_Table):
    """Where JSON Web Tokens come from, and what must stand in them (RFC 7519, RFC 9068)."""

    issuer: str = Field(min_length=1)
    audience: str | tuple[str, ...]
    jwks_file: Path | None = None
    jwks_url: str | None = None
    jwks_seconds: float = Field(default=3600, ge=1)
    algorithms: tuple[str, ...] = ASYMMETRIC
    leeway: int = Field(default=30, ge=0, le=300)
    scope_claim: str | tuple[str, ...] = "scope"
    user_claim: str = "sub"

    @field_validator("algorithms")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in (*ASYMMETRIC, *_SHARED)]
        if unknown or not value:
            raise ValueError(
                f"algorithms may be {', '.join((*ASYMMETRIC, *_SHARED))}, not {', '.join(unknown) or 'none'}"
            )
        return value

    @field_validator("audience")
    @classmethod
    def _some(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("audience is empty; a token for any audience would be one for another service")
        return value

    @field_validator("jwks_url")
    @classmethod
    def _sure(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://none")
        if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}):
            return value
        raise ValueError("jwks_url must begin with https://: whoever changes the keys on their way makes tokens")

    @model_validator(mode="after")
    def _from_one_place(self) -> OidcSettings:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("give one of jwks_file and jwks_url")
        if self.jwks_url is not None and any(name in _SHARED for name in self.algorithms):
            raise ValueError("HS256 and the like need a shared secret, which no address gives away: use jwks_file")
        return self

    @property
    def audiences(self) -> tuple[str, ...]:
        """Any of these must be among a token's."""
        return (self.audience,) if isinstance(self.audience, str) else self.audience


class HrefSettings(_Table):
    """How hrefs are signed: by the first key; all are accepted. An href lives ``seconds`` or more."""

    keys: tuple[Secret, ...] = Field(min_length=1)
    seconds: int = Field(default=3600, ge=60, le=7 * 86400)
    presign: bool = False

    def secrets(self, folder: Path) -> tuple[bytes, ...]:
        """The keys.

        Raises
        ------
        InvalidInput
            If one is not there, or shorter than an HMAC with SHA-256 wants (RFC 2104, section 3).
        """
        found = tuple(key.read(folder).encode() for key in self.keys)
        if any(len(key) < _SHORTEST_KEY for key in found):
            raise InvalidInput(
                f"A key of hrefs has fewer than {_SHORTEST_KEY} characters.", hint="Make one: openssl rand -base64 32"
            )
        return found


class RateSettings(_Table):
    """How often who may ask, as ``limits`` writes it: ``600/minute``, several with ``;``. None is without a limit."""

    readers: str | None = "1200/minute"
    anonymous: str | None = "120/minute"
    storage: str = "memory://"

    @field_validator("readers", "anonymous")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is None:
            return None
        from limits import parse_many

        try:
            found = parse_many(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a rate such as 600/minute") from error
        if any(item.amount < 1 for item in found):
            raise ValueError(f"{value!r} allows nothing")
        return value


class LogSettings(_Table):
    """Where reads are logged. ``required`` says that what cannot be logged is not answered (503)."""

    path: Path
    sync: bool = True
    required: bool = True
    rotate_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)


class AccessSettings(_Table):
    """Who may read. Paths are relative to ``folder``, where the file lies."""

    public: tuple[Pattern, ...] = ()
    tokens: tuple[TokenSettings, ...] = Field(default=(), alias="token")
    oidc: OidcSettings | None = None
    hrefs: HrefSettings
    rate: RateSettings = RateSettings()
    log: LogSettings | None = None
    folder: Path = Path()

    @model_validator(mode="after")
    def _names_differ(self) -> AccessSettings:
        names = [token.name for token in self.tokens]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two tokens have the name {min(twice)!r}; the log of reads could not tell them apart")
        return self


_PLACE = re.compile(r"\w+")
_WORDS = {
    "a valid tuple": "a list",
    "a valid dictionary": "a table",
    "a valid string": "a text",
    " or instance of Secret": "",
}


def load_access(path: Path) -> AccessSettings:
    """Read a file of access settings.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        If it is not TOML, or says what cannot be meant.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", hint="See docs/access.md for what stands in it.") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint="Name another file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}.", hint="See docs/access.md.") from error
    try:
        if _BESIDE in data:
            raise InvalidInput(f"{path}: {_BESIDE} is not a setting; it is where the file lies.", hint="Leave it out.")
        return AccessSettings.model_validate({**data, _BESIDE: path.resolve().parent})
    except ValidationError as error:
        told = "; ".join(_told(error.errors())[:5])
        raise InvalidInput(f"{path}: {told}", hint="See docs/access.md.", kind="invalid-access") from error


def _told(entries: Sequence[Any]) -> list[str]:
    """What is wrong, place by place, in the words of TOML; where a value may be one of two kinds, why it is neither.

    Without the values, which may be secrets that were written in the wrong place.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        # What is no name is pydantic's, of a kind that the value was tried as.
        parts = takewhile(_PLACE.fullmatch, map(str, entry["loc"]))
        text = "is not a setting" if entry["type"] == "extra_forbidden" else entry["msg"]
        for word, own in _WORDS.items():
            text = text.replace(word, own)
        found.setdefault(".".join(parts) or "the file", []).append(text)
    return [f"{place}: {', or '.join(texts)}" for place, texts in found.items()]
