"""What the tests of access share: a catalog with a hidden dataset, settings, tokens, and a store that is watched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from running import client_of_app

from api.access.bearer import hash_of
from api.access.settings import AccessSettings
from api.app import create_app
from api.backend import EmbeddedBackend
from api.pgstac_backend import PgstacBackend
from api.settings import ApiSettings
from versioning.catalog import Catalog
from versioning.store import open_store

KEY = "k" * 40
# Windows so long that no test meets the end of one.
WEEK = 7 * 86400
TOKENS = {"ann": ("read:roads",), "bob": ("read:land*",), "root": ("read:*",), "nobody": ()}


def token(name: str) -> str:
    return f"stacpin_{name}-{'x' * 40}"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(name)}"}


def access(folder: Path, **more: Any) -> AccessSettings:
    """`dem` is public, `landcover` and `roads` are not; no rates."""
    given = {
        "public": ["dem"],
        "token": [{"name": n, "sha256": hash_of(token(n)), "scopes": list(s)} for n, s in TOKENS.items()],
        "hrefs": {"keys": [{"value": KEY}], "seconds": WEEK},
        "rate": {"readers": None, "anonymous": None},
        "folder": folder,
    }
    return AccessSettings.model_validate(given | more)


def with_roads(site: Any, folder: Path) -> Any:
    """A copy of the catalog of all tests, with a dataset `roads` of two versions, a tag, a pointer and a property."""
    shutil.copytree(site.folder, folder / "catalog")
    site = type(site)(folder / "catalog")
    square = site.item("r01", 41, west=20.0, when="2022-01-01T00:00:00Z", **{"secret:name": "A1"})
    site.commit("roads", square, collection={"description": "Hidden roads.", "license": "other"}, message="hidden")
    site.commit("roads", site.item("r02", 42, west=21.0, when="2023-01-01T00:00:00Z"), message="hidden too")
    site.catalog.dataset("roads").tag("v7.7.7", 1, author="tester")
    site.catalog.dataset("roads").move("stable", 1, why="checked", author="tester")
    return site


def without_roads(site: Any, folder: Path) -> str:
    """A copy of the catalog in which there never was a dataset `roads`."""
    shutil.copytree(site.folder, folder)
    shutil.rmtree(folder / "datasets" / "roads")
    return str(folder)


class Watched:
    """A store, or a client of an index, that notes what is asked of it."""

    def __init__(self, inner: Any, calls: list[tuple[str, ...]] | None = None) -> None:
        self.inner = inner
        self.calls: list[tuple[str, ...]] = [] if calls is None else calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def noted(*words: Any, **options: Any) -> Any:
            self.calls.append((name, *map(str, words), *map(str, options.values())))
            return found(*words, **options)

        return noted


class Asked:
    """The API of a catalog, with what its store, and its index if there is one, were asked each time."""

    def __init__(
        self, where: str, settings: AccessSettings | None, *, index: str | None = None, **options: Any
    ) -> None:
        presigns = settings is not None and settings.hrefs.presign
        # What is watched cannot presign: that takes the store itself.
        self.store = open_store(where) if presigns else Watched(open_store(where))
        self.index = index
        self.backend = EmbeddedBackend(Catalog.open(self.store))
        if index is not None:
            self.backend = PgstacBackend(Catalog.open(self.store), index)
            assert isinstance(self.store, Watched)
            self.backend._client = Watched(self.backend._client, self.store.calls)
        made = ApiSettings(catalog=where, access=settings, **options)
        app = create_app(made, backend=self.backend)
        self.client = client_of_app(app, follow_redirects=False)

    def close(self) -> None:
        """End the connections to an index."""
        if isinstance(self.backend, PgstacBackend):
            self.backend.close()

    def __call__(self, method: str, path: str, **options: Any) -> tuple[Any, list[tuple[str, ...]]]:
        assert isinstance(self.store, Watched)
        self.store.calls.clear()
        # Compressed, two bodies that differ in a name alone can differ in length.
        options["headers"] = {"Accept-Encoding": "identity", **(options.get("headers") or {})}
        answer = self.client.request(method, path, **options)
        return answer, list(self.store.calls)


def told(answer: Any) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer but for what is another for each request."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.content, headers
