"""Errors as answers: a STAC API error body with a stable code, what is wrong, and the way out. Never a traceback."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.params import SearchPostRequest, takes_hint
from api.service.logs import REQUEST_ID
from versioning.errors import Forbidden, InvalidInput, StacpinError, StorageUnavailable

__all__ = ["add_error_handlers", "problem"]

_log = logging.getLogger(__name__)
_SERVER_ERROR = 500
_LONGEST_VALUE = 100
_RETRY_AFTER = "5"


def problem(status: int, code: str, description: str, hint: str | None = None, **headers: str) -> JSONResponse:
    """An error answer: ``{"code", "description", "hint"?}``."""
    body = {"code": code, "description": _as_text(description)}
    if hint:
        body["hint"] = _as_text(hint)
    return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store", **headers})


def add_error_handlers(app: FastAPI, *, hide: str) -> None:
    """Answer every error of the application with :func:`problem`.

    Parameters
    ----------
    app
        The application.
    hide
        The catalog's address, which is the operator's business: texts say ``the catalog`` in its place.
    """

    def public(text: str) -> str:
        return text.replace(hide, "the catalog") if hide else text

    def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StacpinError)
        if _of_operator(error):
            _log.error("the catalog cannot be read: %s: %s", error.kind, error)
            error = StorageUnavailable("The catalog's store does not answer.", hint="Try again in a few seconds.")
        elif error.http_status >= _SERVER_ERROR:
            _log.error("%s: %s", error.kind, error)
        hint = public(error.hint) if error.hint else None
        # Stores and databases that do not answer mostly do so again in a moment.
        later = {"Retry-After": _RETRY_AFTER} if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return problem(error.http_status, error.kind, public(error.message), hint, **later)

    def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        entries = error.errors()
        told = "; ".join(_told(entry) for entry in entries[:5])
        unknown = [str(entry["loc"][1]) for entry in entries if _unknown_member(entry)]
        if not unknown:
            return problem(HTTPStatus.BAD_REQUEST, "invalid-input", told)
        known = [field.alias or name for name, field in SearchPostRequest.model_fields.items()]
        return problem(HTTPStatus.BAD_REQUEST, "unknown-parameter", told, takes_hint(unknown, known))

    def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        return problem(error.status_code, code, str(error.detail), **(error.headers or {}))

    def unexpected(request: Request, error: Exception) -> JSONResponse:
        _log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        # Outside of every layer of ours, so that the id is not set by the one that does it for all other answers.
        named = {"X-Request-ID": name} if (name := REQUEST_ID.get()) else {}
        return problem(_SERVER_ERROR, "error", "The server failed at this request; its log says why.", **named)

    app.add_exception_handler(StacpinError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _as_text(text: str) -> str:
    """The text, with halves of surrogate pairs escaped: JSON can bring them in, and UTF-8 cannot take them out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _of_operator(error: StacpinError) -> bool:
    """Whether the words are for whoever runs the server: addresses and keys of its store, rights that it lacks there.

    A path that no store takes was the client's. What the API itself forbids has kinds of its own.
    """
    return (error.of_store and not isinstance(error, InvalidInput)) or error.kind == Forbidden.kind


def _unknown_member(entry: Any) -> bool:
    """Whether it is about a member that the body of a search cannot have: the only body that a route takes."""
    return entry.get("type") == "extra_forbidden" and len(entry["loc"]) == len(("body", "its name"))


def _told(entry: Any) -> str:
    """One validation error in words: where, what, and the value, shortened."""
    # The first part says where the parameter stands; one that is named "query" comes after it.
    place = ".".join(ascii(part)[1:-1] if isinstance(part, str) else str(part) for part in entry.get("loc", ())[1:])
    place = place[:_LONGEST_VALUE] or "the body"
    if entry.get("type") == "extra_forbidden":
        return f"{place} is not a parameter of this route"
    value, secret = entry.get("input"), place == "token"
    # People take the parameter of pages for that of their access token.
    shown = f" (it is {ascii(value)[:_LONGEST_VALUE]})" if isinstance(value, str | int | float) and not secret else ""
    return f"{place}: {entry.get('msg')}{shown}"
