"""What is in each folder of the file view, from the projects down to the files of a layer."""

from __future__ import annotations

from collections.abc import Iterator

from api.backend import Backend
from api.file_listing import Column, Fact, Listed, Listing, human_size
from api.file_tree import FileEntry, Layers, files_of, project_of
from api.urls import Urls
from versioning.dataset import Dataset
from versioning.errors import NotFound
from versioning.version import Version

__all__ = ["FILES", "Folders"]

FILES = "files"


class Folders:
    """The folders of a catalog, as listings."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.layers = Layers()

    def moving(self, urls: Urls, url: str, parts: tuple[str, ...]) -> Listing:
        """A folder above the hashes, which gets new entries: ``parts`` are up to the project and the dataset."""
        here = (FILES, *parts)
        catalog = self.backend.catalog
        if not parts:
            title = catalog.settings.title
            entries = [Listed(project_of(catalog), folder=True, more={"title": title, "catalog": catalog.record.id})]
            return Listing(url, here, "Projects", (), (Column("Title", "title"), Column("Catalog", "catalog")), entries)
        if len(parts) == 1:
            facts = (Fact("Catalog", "catalog", catalog.record.id, urls.root(), code=True),)
            columns = (Column("Latest", "latest"), Column("Versions", "versions", "number"))
            title = catalog.settings.title or f"Catalog {parts[0]}"
            return Listing(url, here, title, facts, columns, self._datasets(), "No dataset has a version yet.")
        dataset = self.backend.dataset(parts[1])
        facts = (Fact("Dataset", "dataset", dataset.id, urls.dataset(dataset.id)),)
        columns = (
            Column("Version", "names"),
            Column("Time", "time", "time"),
            Column("Items", "items", "number"),
            Column("Message", "message"),
        )
        return Listing(url, here, dataset.id, facts, columns, self._versions(dataset), "Every version is expired.")

    def _datasets(self) -> Iterator[Listed]:
        for name in self.backend.dataset_ids():
            dataset = self.backend.dataset(name)
            latest = dataset.latest_number()
            yield Listed(
                name, folder=True, more={"latest": f"v{latest}" if latest else None, "versions": dataset.head()}
            )

    def _versions(self, dataset: Dataset) -> Iterator[Listed]:
        """One folder for each digest, under all the names that it has."""
        names: dict[int, list[str]] = {}
        for name, number in [*dataset.pointers().items(), *((tag.tag, tag.target) for tag in dataset.tags())]:
            names.setdefault(number, []).append(name)
        folders: dict[str, Listed] = {}
        for record in dataset.versions():
            if dataset.expiry(record.number) is not None:
                continue
            called = [f"v{record.number}", *names.get(record.number, [])]
            name = record.digest.replace(":", "-")
            if name in folders:
                folders[name].more["names"].extend(called)
                continue
            statistics = record.statistics
            folders[name] = Listed(
                name,
                folder=True,
                size=statistics.bytes,
                more={
                    "names": called,
                    "time": record.time,
                    "items": statistics.items,
                    "files": statistics.assets,
                    "message": record.message,
                },
            )
        yield from folders.values()

    def pinned(self, urls: Urls, url: str, parts: tuple[str, ...], version: Version) -> Listing:
        """A folder from a hash on: ``parts`` are project, dataset, version and maybe a layer.

        Raises
        ------
        NotFound
            If the version has no file in that layer.
        """
        here = (FILES, *parts)
        facts = [
            Fact("Digest", "digest", version.digest, code=True),
            Fact("Version", "pin", version.pin, urls.collection(version.collection_id)),
        ]
        layers = self.layers.of(version)
        if len(parts) == 3:  # noqa: PLR2004 - project, dataset, version
            record = version.record
            facts += [Fact("Published", "time", record.time), Fact("Message", "message", record.message or "-")]
            entries = [
                Listed(layer.name, folder=True, size=layer.size, more={"files": layer.files}) for layer in layers
            ]
            columns = (Column("Files", "files", "number"),)
            return Listing(url, here, version.pin, tuple(facts), columns, entries, "This version has no files.")
        layer = next((found for found in layers if found.name == parts[3]), None)
        if layer is None:
            raise NotFound(
                f"{version.pin} has no layer {parts[3]!r}.",
                hint=f"Layers: {', '.join(found.name for found in layers) or 'none'}.",
                kind="no-such-layer",
            )
        facts.append(Fact("Files", "summary", f"{layer.files:,} files, {human_size(layer.size)}"))
        columns = (Column("SHA-256", "sha256", "digest"),)
        entries = (_listed(entry) for entry in files_of(version, layer.name))
        title = f"{version.pin}: {layer.name}"
        return Listing(url, here, title, tuple(facts), columns, entries, signed=urls.signed)


def _listed(entry: FileEntry) -> Listed:
    more = {"sha256": entry.sha256, "item": entry.item, "key": entry.key, "pin:digest": entry.digest}
    return Listed(entry.name, folder=False, size=entry.size, more=more)
