"""GET and HEAD /files/…: versions as folders of files, for QGIS, GDAL, wget and people with a web browser.

``/files/{project}/{dataset}/{version_hash}/{layer_type}/{file}``: nothing is copied, a file is an object by another
name. What lies below a hash never changes; other names of versions (``v3``, ``latest``, a tag) lead to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from api.backend import Backend
from api.file_folders import FILES, Folders
from api.file_listing import Listing, html_blocks, json_blocks, wants_json
from api.file_tree import LAYERS, Versions, find_file, folder_of, project_of
from api.middleware import is_head
from api.objects import OPEN, Passage, Presigner, serve_object
from api.responses import ALIAS, IMMUTABLE, etag_of, matches, stamped, unsized
from api.urls import Urls, link
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import InvalidInput, NotFound
from versioning.ids import check_dataset_id
from versioning.version import Version

__all__ = ["file_router", "files_link"]

Project = Annotated[str, Path(description="The catalog: its title as a word, or the first 8 digits of its id.")]
DatasetId = Annotated[str, Path(description="A dataset's id.")]
VersionName = Annotated[str, Path(description="`sha256-` and 64 digits; any other name of a version leads there.")]
LayerType = Annotated[str, Path(description="`raster`, `labels` or `file`.")]
FileName = Annotated[str, Path(description="`<item>.<key>.<extension>`, as the folder lists it.")]
Form = Annotated[
    Literal["html", "json"] | None, Query(description="`html` or `json`; unless told, the Accept header decides.")
]


def files_link(catalog: Catalog, urls: Urls, version: Version | None = None) -> dict[str, str]:
    """The link to a version's folder, or to the folder of all."""
    if version is None:
        return link("enclosure", f"{urls.to(FILES)}/", "text/html", "Files of all versions")
    href = urls.to(FILES, project_of(catalog), version.dataset, folder_of(version))
    return link("enclosure", f"{href}/", "text/html", "Files of this version")


def file_router(backend: Backend, passage: Passage = OPEN) -> APIRouter:
    """The routes of the folders and files of a catalog."""
    tree = _Tree(backend, passage.presigner)
    router = APIRouter(tags=["Files"])

    def projects(request: Request, f: Form = None) -> Response:
        """The folder of all: one project, which is this catalog."""
        return tree.folder(request, f, ())

    def project(request: Request, project: Project, f: Form = None) -> Response:
        """The datasets of a project."""
        return tree.folder(request, f, (project,))

    def dataset(request: Request, project: Project, dataset: DatasetId, f: Form = None) -> Response:
        """The versions of a dataset, newest first."""
        return tree.folder(request, f, (project, dataset))

    def version(
        request: Request, project: Project, dataset: DatasetId, version: VersionName, f: Form = None
    ) -> Response:
        """The layers of a version."""
        return tree.folder(request, f, (project, dataset, version))

    def layer(
        *,
        request: Request,
        project: Project,
        dataset: DatasetId,
        version: VersionName,
        layer: LayerType,
        f: Form = None,
    ) -> Response:
        """The files of a layer, all of them, streamed."""
        return tree.folder(request, f, (project, dataset, version, layer))

    def file(
        *,
        request: Request,
        project: Project,
        dataset: DatasetId,
        version: VersionName,
        layer: LayerType,
        name: FileName,
    ) -> Response:
        """The bytes of a file, whole or a range of them, as `/objects/` gives them."""
        return tree.file(request, (project, dataset, version, layer, name))

    def add(path: str, endpoint: Callable[..., Response], name: str) -> None:
        router.add_api_route(f"{path}/", endpoint, methods=["GET"], name=name)
        # Without the slash at the end it is the same, and leads to it.
        router.add_api_route(path, endpoint, methods=["GET"], name=name, include_in_schema=False)

    path = "/files"
    add(path, projects, "Projects")
    add(path := f"{path}/{{project}}", project, "Datasets of a Project")
    add(path := f"{path}/{{dataset}}", dataset, "Versions as Folders")
    add(path := f"{path}/{{version}}", version, "Layers of a Version")
    add(path := f"{path}/{{layer}}", layer, "Files of a Layer")
    router.add_api_route(f"{path}/{{name}}", file, methods=["GET"], name="Get File", dependencies=passage.files)
    return router


class _Tree:
    def __init__(self, backend: Backend, presigner: Presigner | None) -> None:
        self.backend = backend
        self.presigner = presigner
        self.versions = Versions(backend)
        self.folders = Folders(backend)

    def folder(self, request: Request, form: str | None, asked: tuple[str, ...]) -> Response:
        """A folder by the names in its path, below ``/files``."""
        urls = Urls.of(request)
        parts, version = self._canonical(asked)
        url = urls.to(FILES, *parts)
        if parts != asked or not request.scope["path"].endswith("/"):
            return _moved(request, f"{url}/", status=308 if parts == asked else 307)
        as_json = wants_json(form, request.headers.get("accept", ""))
        kind = "application/json" if as_json else "text/html; charset=utf-8"
        headers = {"Content-Type": kind, "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
        if not as_json:
            headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
        if version is None:
            body = b"".join(_blocks(self.folders.moving(urls, url, parts), as_json))
            headers |= {"Cache-Control": ALIAS, "ETag": etag_of(body)}
        else:
            etag = stamped(request, etag_of(url, version.pin, version.digest, kind))
            headers |= {"Cache-Control": IMMUTABLE, "ETag": etag}
            body = None
        if matches(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if version is None or body is not None:
            return Response(body, headers=headers)
        blocks = _blocks(self.folders.pinned(urls, url, parts, version), as_json)
        # The first block is made before the status is sent: damage that shows at once is an error, not a broken stream.
        first = list(islice(blocks, 1))
        return unsized(headers) if is_head(request.scope) else StreamingResponse(chain(first, blocks), headers=headers)

    def file(self, request: Request, asked: tuple[str, ...]) -> Response:
        """A file by the names in its path."""
        parts, version = self._canonical(asked[:4])
        assert version is not None
        if parts != asked[:4]:
            return _moved(request, Urls.of(request).to(FILES, *parts, asked[4]), status=307)
        entry = find_file(self.backend, version, parts[3], asked[4])
        if entry.stored:
            return serve_object(request, self.backend.catalog.store, entry.stored, self.presigner)
        if urlsplit(entry.href).scheme.lower() not in {"http", "https"}:
            raise NotFound(
                f"{entry.name} is not in this catalog: it is referenced in place, at {entry.href[:500]}.",
                hint="Read it there.",
                kind="referenced-in-place",
            )
        return RedirectResponse(entry.href, status_code=307, headers={"Cache-Control": IMMUTABLE})

    def _canonical(self, asked: tuple[str, ...]) -> tuple[tuple[str, ...], Version | None]:
        """The names that the same folder has for ever, and the version that it belongs to."""
        if not asked:
            return (), None
        project, record = project_of(self.backend.catalog), self.backend.catalog.record
        if asked[0] not in {project, record.id, record.id[:8]}:
            raise NotFound(f"There is no project {asked[0][:100]!r}; there is {project}.", kind="no-such-project")
        if len(asked) == 1:
            return (project,), None
        dataset = self._dataset(asked[1])
        if len(asked) == 2:  # noqa: PLR2004 - project and dataset
            return (project, dataset.id), None
        version = self.versions.find(dataset, asked[2])
        found = (project, dataset.id, folder_of(version), *asked[3:])
        if len(asked) > 3 and asked[3] not in LAYERS:  # noqa: PLR2004 - the fourth is the layer
            raise NotFound(
                f"{version.pin} has no layer {asked[3][:100]!r}.",
                hint=f"Layers: {', '.join(LAYERS)}.",
                kind="no-such-layer",
            )
        return found, version

    def _dataset(self, name: str) -> Dataset:
        try:
            return self.backend.dataset(check_dataset_id(name))
        except InvalidInput as error:
            raise NotFound(f"There is no dataset {name[:100]!r}.", hint=error.hint, kind="no-such-dataset") from error


def _blocks(listing: Listing, as_json: bool) -> Iterator[bytes]:  # noqa: FBT001 - one of two forms
    return json_blocks(listing) if as_json else html_blocks(listing, urlsplit(listing.url).path)


def _moved(request: Request, url: str, *, status: int) -> Response:
    """A redirect that keeps the query; it is asked again each time, since names of versions move."""
    query = request.url.query
    return RedirectResponse(f"{url}?{query}" if query else url, status_code=status, headers={"Cache-Control": ALIAS})
