from __future__ import annotations

import pytest

from catalog.query import Query
from loaders import open as open_pin
from loaders.proof import DigestBuilder, proven
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Integrity

COUNT = 6000  # several chunks, cut by both masks and by the least size


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    catalog = Catalog.create(str(tmp_path_factory.mktemp("many")))
    asset = catalog.objects.put_bytes(b"x", ".bin")
    items = [
        {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": f"i{number:05}",
            "geometry": None,
            "properties": {"datetime": "2024-01-01T00:00:00Z"},
            "assets": {"x": {"href": asset.href, "file:checksum": asset.checksum, "file:size": asset.size}},
        }
        for number in range(COUNT)
    ]
    return commit(catalog.dataset("many"), items=items, collection={"title": "Many"}, message="m", author="a").version


@pytest.fixture(scope="module")
def rows(many):
    return list(many.rows())


def digest_of(rows, collection):
    builder = DigestBuilder()
    for row in rows:
        builder.add(row.id, row.digest)
    return builder.digest(collection)


def test_the_digest_comes_out_again(many, rows):
    assert len(many.chunks) > 2
    assert digest_of(rows, many.record.collection) == many.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:-1],
        lambda rows: rows[1:],
        lambda rows: rows[:3000] + rows[3001:],
        lambda rows: [],
    ],
)
def test_any_other_set_is_refused(many, rows, change):
    stream = proven(change(rows), digest=many.digest, collection=many.record.collection, pin="p", source="s")
    with pytest.raises(Integrity, match="add up to"):
        list(stream)


def test_rows_twice_or_out_of_order_are_refused(rows):
    for wrong in ([rows[0], rows[0]], [rows[1], rows[0]]):
        with pytest.raises(Integrity, match="in order"):
            digest_of(wrong, {})


def test_the_empty_set_has_a_digest(tmp_path):
    catalog = Catalog.create(str(tmp_path))
    version = commit(catalog.dataset("none"), items=[], collection={}, message="m", author="a").version
    assert digest_of([], {}) == version.digest
    assert list(open_pin(tmp_path, "none").source.rows(Query())) == []


def test_pages_of_an_api_add_up(many):
    """6,000 items come in six pages."""
    from loader_servers import api_of

    url = many._files.manifests._store.url
    with api_of(url) as base:
        pin = open_pin(base, "many")
        assert sum(1 for _ in pin.source.rows(Query())) == COUNT
        assert len(pin.assets(ids=["i00001", "i05999"])) == 2
