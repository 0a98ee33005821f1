"""A catalog's bucket through boto3: settings of buckets and tags of objects, which obstore cannot reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from versioning.errors import InvalidInput, StacpinError, StorageUnavailable
from versioning.store_errors import by_code, no_login

__all__ = ["Bucket", "NotThere", "Unsupported", "open_bucket"]

_UNSUPPORTED = {"NotImplemented", "MethodNotAllowed", "XNotImplemented", "501", "405"}
_RETRIES, _SECONDS = 5, 20


class Unsupported(StorageUnavailable):
    """The server does not implement this, or does not let this user ask."""

    kind = "not-implemented"


class NotThere(StorageUnavailable):
    """The bucket has no such setting."""

    kind = "no-such-setting"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and the folder of the catalog in it: empty, or ending in a slash."""

    client: Any  # boto3's clients are made at run time
    name: str
    prefix: str

    def ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation of S3's API on this bucket.

        Raises
        ------
        NotThere
            If the bucket has no such setting.
        Unsupported
            If the server does not implement the operation, or this user may not ask.
        StacpinError
            If it is refused otherwise, or the server does not answer.
        """
        with _translated(f"s3://{self.name}", operation):
            return getattr(self.client, operation)(Bucket=self.name, **parameters)

    def pages(self, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Every page of a listing."""
        with _translated(f"s3://{self.name}", operation):
            yield from self.client.get_paginator(operation).paginate(Bucket=self.name, **parameters)


@contextmanager
def open_bucket(url: str) -> Iterator[Bucket]:
    """The bucket of a catalog's URL, under the same environment, profile or role as the catalog.

    Raises
    ------
    InvalidInput
        If the catalog is not on S3.
    ImportError
        If boto3 (extra ``s3``) is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in {"s3", "s3a"} or not parts.netloc:
        raise InvalidInput(f"{url} is not on S3.", hint="Only S3 has these settings: name an s3://… catalog.")
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"max_attempts": _RETRIES})
    folder = parts.path.strip("/")
    try:
        client = boto3.client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise no_login(url, error) from error
    try:
        yield Bucket(client, parts.netloc, f"{folder}/" if folder else "")
    finally:
        client.close()


@contextmanager
def _translated(where: str, operation: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refused(where, operation, error.response) from error
    except BotoCoreError as error:
        raise StorageUnavailable(
            f"{where}: the store did not do it ({error}).",
            hint="Check the credentials, and that the address is right and the store is up.",
        ) from error


def _refused(where: str, operation: str, response: Any) -> StacpinError:
    code = str(response.get("Error", {}).get("Code", ""))
    said = f"{code}: {response.get('Error', {}).get('Message', '')}"
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _UNSUPPORTED or status in {405, 501}:
        return Unsupported(f"{where} does not know {operation} ({said}).", hint="This store has no such setting.")
    # Settings that were never made are 404 with a code of their own each; a missing bucket is another matter.
    if status == 404 and code not in {"NoSuchBucket", "NoSuchKey", "404"}:  # noqa: PLR2004 - HTTP
        return NotThere(f"{where} has no such setting ({said}).")
    return by_code(where, code, said)
