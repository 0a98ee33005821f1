"""STAC Browser at /browser/: the built files, with settings that are made at run time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.urls import Urls

__all__ = ["is_built", "mount_browser"]

_NOT_FOUND = 404
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>STAC Browser is not built</title>
<body style="font-family: sans-serif; max-width: 40em; margin: 4em auto">
<h1>STAC Browser is not built</h1>
<p>The STAC API works without it: it is at <a href="../">the root of this address</a>.</p>
<p>To build the browser, install Node.js 20 or newer, run this in the repository, and reload the page:</p>
<pre>make browser</pre>
</body></html>
"""


class _SinglePage(StaticFiles):
    """Files of a folder; every other path is the application's own, so it gets index.html."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != _NOT_FOUND or scope["method"] not in {"GET", "HEAD"}:
                raise
            path, response = "index.html", await super().get_response("index.html", scope)
        except ValueError as error:  # a path with a NUL
            raise HTTPException(_NOT_FOUND) from error
        # The names of scripts and styles carry a hash of their content.
        hashed = path.startswith(("js", "css", "img"))
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return response


def is_built(folder: Path) -> bool:
    """Whether the built files are there."""
    return (folder / "index.html").is_file()


def mount_browser(
    app: FastAPI, folder: Path, *, title: str, options: dict[str, Any], crs: Callable[[], dict[str, str]]
) -> None:
    """Serve STAC Browser, or a page that says how to build it: looked for at each start, not at each request.

    Parameters
    ----------
    app
        The application.
    folder
        Where the built files are.
    title
        What people read above the catalog.
    options
        Any option of STAC Browser, over ours.
    crs
        Gives WKT 1 by code, asked each time the page is loaded; ``options`` may add to it.
    """

    def config(request: Request) -> Response:
        settings = {
            "catalogUrl": Urls.of(request).root(),
            "catalogTitle": title,
            "allowExternalAccess": False,
            **options,
            "crs": {**crs(), **options.get("crs", {})},
        }
        script = b"window.STAC_BROWSER_CONFIG = " + orjson.dumps(settings) + b";\n"
        return Response(script, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    def to_folder(request: Request) -> Response:
        return RedirectResponse(Urls.of(request).to("browser") + "/", status_code=308)

    def not_built(_: Request) -> Response:
        return HTMLResponse(_NOT_BUILT, status_code=503, headers={"Cache-Control": "no-store"})

    app.add_route("/browser/config.js", config, methods=["GET", "HEAD"], include_in_schema=False)

    def no_icon(_: Request) -> Response:
        return Response(status_code=204, headers={"Cache-Control": "max-age=86400"})

    app.add_route("/favicon.ico", no_icon, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_route("/browser", to_folder, methods=["GET", "HEAD"], include_in_schema=False)
    if is_built(folder):
        app.mount("/browser", _SinglePage(directory=folder, html=True), name="browser")
    else:
        app.add_route("/browser/{path:path}", not_built, methods=["GET", "HEAD"], include_in_schema=False)
