"""What a backend's error means: a full disk, a wrong clock, an expired login and so on, each with its way out.

obstore tells apart "not there", "already there" and "denied"; the rest is in its text: the number of the system's error
for a local folder, S3's and Azure's error code in an XML body for a server. A reply to HEAD has no body, so no code.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from obstore import exceptions as backend

from versioning.durable import LostWritesError
from versioning.errors import Forbidden, InvalidInput, NotFound, StacpinError, StorageUnavailable

__all__ = ["by_code", "denied_without_reason", "first_line", "no_login", "translate"]

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_CODE = re.compile(r"<Code>\s*([A-Za-z]{1,80})\s*</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_SERVER_TIME = re.compile(r"<ServerTime>([0-9TZ:.+ -]{1,40})</ServerTime>")
# What botocore says of single sign-on and of roles, through obstore.
_LOGIN_EXPIRED = re.compile(r"(?i)(?:sso session|token|credentials?)\b[^.]{0,80}\bexpired")
_DENIED_STATUS = re.compile(r"status code: 40[13]\b")
_REFUSED_STATUS = re.compile(r"status code: 40[013]\b")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EPERM, errno.EACCES}
_Maker = Callable[[str, str], StacpinError]


def _full(where: str, said: str) -> StacpinError:
    return StorageUnavailable(
        f"{where} was not written: there is no room ({said}).",
        hint="Nothing half-written is visible, and what was there is unharmed. Free space or raise the quota, then run "
        "the command again; or use a catalog on another disk.",
        kind="disk-full",
    )


def _read_only(where: str, said: str) -> StacpinError:
    return Forbidden(
        f"{where} was not written: access was denied, the file system is read-only ({said}).",
        hint="Reading works. To write, mount it writable, or work on a copy of the catalog elsewhere.",
        kind="read-only",
    )


def _disk_error(where: str, said: str) -> StacpinError:
    return StorageUnavailable(
        f"{where}: the disk failed ({said}).",
        hint="What was written last may be damaged, though it is there; no record was written after it. Look at the "
        "system's log, and when the disk works again prove what is there: stacpin verify",
        kind="disk-error",
    )


def _expired(where: str, said: str) -> StacpinError:
    return Forbidden(
        f"{where}: access was denied, the credentials have expired ({said}).",
        hint="Log in again (for example: aws sso login) or renew the session token, then run the command again.",
        kind="expired-credentials",
    )


def _wrong(where: str, said: str) -> StacpinError:
    return Forbidden(
        f"{where}: access was denied, the store does not know these credentials ({said}).",
        hint="Check the key, its secret, the profile and the endpoint (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_PROFILE, AWS_ENDPOINT_URL; for Azure AZURE_STORAGE_…).",
        kind="wrong-credentials",
    )


def _denied(where: str, said: str) -> StacpinError:
    return Forbidden(f"{where}: access was denied ({said}).", hint="Check the credentials and permissions.")


def _skewed(where: str, said: str) -> StacpinError:
    return StorageUnavailable(
        f"{where}: access was denied because this computer's clock differs too much from the store's ({said}).",
        hint="Set the clock (for example: timedatectl set-ntp true), then run the command again.",
        kind="clock-skew",
    )


def _no_bucket(where: str, said: str) -> StacpinError:
    return NotFound(
        f"{where}: its bucket does not exist ({said}).",
        hint="Check the name and the endpoint, or make the bucket: stacpin makes catalogs, never buckets.",
        kind="no-such-bucket",
    )


def _cold(where: str, said: str) -> StacpinError:
    return StorageUnavailable(
        f"{where} lies in cold storage and cannot be read now ({said}).",
        hint="Ask the store to restore it (S3: aws s3api restore-object --bucket … --key … --restore-request Days=7), "
        "wait until it is done, and run the command again.",
        kind="cold-storage",
    )


def _needs_checksum(where: str, said: str) -> StacpinError:
    return Forbidden(
        f"{where} was not written: its bucket has Object Lock and wants a checksum with each upload ({said}).",
        hint="Set AWS_CHECKSUM_ALGORITHM=SHA256, then run the command again.",
        kind="needs-checksum",
    )


_CODES: dict[str, _Maker] = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"), _expired),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed", "UnrecognizedClient"),
        _wrong,
    ),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "AuthorizationFailure"), _denied),
    "RequestTimeTooSkewed": _skewed,
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound"), _no_bucket),
    **dict.fromkeys(("InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"), _cold),
    **dict.fromkeys(("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"), _full),
}


def translate(where: str, error: BaseException) -> StacpinError:
    """The error of ours that says what happened at ``where``, why, and what to do; it is marked ``of_store``.

    Parameters
    ----------
    where
        The address of the object or folder.
    error
        What obstore or the system raised.
    """
    return _marked(_meaning(where, error))


def _marked(error: StacpinError) -> StacpinError:
    error.of_store = True
    return error


def _meaning(where: str, error: BaseException) -> StacpinError:  # noqa: PLR0911 - one answer for each kind of error
    text = str(error)
    # obstore ends with a "Debug source" that repeats everything, some of it escaped.
    text = text.partition("\nDebug source")[0]
    code = _CODE.search(text)
    if code and code[1] in _CODES:
        return _CODES[code[1]](where, _said(text))
    if code and code[1] == "InvalidRequest" and "Object Lock" in text:
        return _needs_checksum(where, _said(text))
    if isinstance(error, backend.BaseError) and _LOGIN_EXPIRED.search(text):
        return _expired(where, first_line(error))
    told = _OS_ERROR.search(text)
    number: int = getattr(error, "errno", None) or (int(told[1]) if told else 0)
    if isinstance(error, LostWritesError) or number == errno.EIO:
        return _disk_error(where, os.strerror(number))
    if number in _FULL:
        return _full(where, os.strerror(number))
    if number == errno.EROFS:
        return _read_only(where, os.strerror(number))
    if isinstance(error, (FileNotFoundError, backend.NotFoundError)):
        return NotFound(f"{where} does not exist.", kind="no-such-object")
    if (
        number in _NOT_ALLOWED
        or isinstance(error, (PermissionError, backend.PermissionDeniedError, backend.UnauthenticatedError))
        # A refused listing is a generic error of obstore's.
        or _DENIED_STATUS.search(text)
    ):
        return _denied(where, _said(text) or (os.strerror(number) if number in _NOT_ALLOWED else first_line(error)))
    if isinstance(error, (backend.InvalidPathError, ValueError)):
        return InvalidInput(f"{where} is not a path in a catalog: {first_line(error)}.")
    return StorageUnavailable(
        f"{where}: the store did not do it ({_said(text) or first_line(error)}).",
        hint="Check that the address is right and the store is up, then try again.",
    )


def by_code(where: str, code: str, said: str) -> StacpinError:
    """The same for an S3 error whose code is known already."""
    if code in _CODES:
        return _marked(_CODES[code](where, said))
    hint = "Try again when the store can."
    return _marked(StorageUnavailable(f"{where}: the store did not do it ({said}).", hint=hint))


def no_login(url: str, error: Exception) -> StacpinError:
    """What botocore's failure to find or renew credentials means."""
    said = first_line(error)
    return _marked(_expired(url, said) if _LOGIN_EXPIRED.search(str(error)) else _wrong(url, said))


def denied_without_reason(error: BaseException) -> bool:
    """Whether a server refused without saying why, as it must in a reply to HEAD (S3 says 400 to an expired token)."""
    return _REFUSED_STATUS.search(str(error)) is not None and _CODE.search(str(error)) is None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")


def _said(text: str) -> str:
    """What a server's XML says, for people; empty if there is none."""
    code = _CODE.search(text)
    if code is None:
        return ""
    message = _MESSAGE.search(text)
    time = _SERVER_TIME.search(text)
    said = f"{code[1]}: {' '.join(message[1].split())}" if message else code[1]
    said = said.replace("&#39;", "'").replace("&quot;", '"').replace("&amp;", "&").rstrip(".")
    return f"{said}; the store's time is {time[1]}" if time else said
