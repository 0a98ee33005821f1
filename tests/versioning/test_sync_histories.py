"""Random histories, synced at random moments, with syncs that die: the mirror is always a past of the source."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sync_helpers import DATASET, digests, item, whole
from test_sync_faults import FailsAt
from version_helpers import AUTHOR, memory_catalog, small_chunks

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Expired, StorageUnavailable
from versioning.expire import expire
from versioning.store import open_store
from versioning.sync import sync

ids = st.sampled_from([f"i{number:02d}" for number in range(25)])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.dictionaries(ids, st.integers(0, 3), min_size=1, max_size=12)),
        st.tuples(st.just("hidden"), st.dictionaries(ids, st.integers(0, 3), min_size=1, max_size=3)),
        st.tuples(st.just("tag"), st.integers(1, 9)),
        st.tuples(st.just("stable"), st.integers(1, 9)),
        st.tuples(st.just("latest"), st.integers(1, 9)),
        st.tuples(st.just("expire"), st.integers(1, 3)),
        st.tuples(st.just("sync"), st.booleans()),
        st.tuples(st.just("die"), st.integers(1, 60)),
    ),
    max_size=14,
)


@settings(max_examples=500 if os.environ.get("STACPIN_LONG") else 25)
@given(steps)
def test_the_mirror_is_a_past_of_the_source(history: list[tuple[str, Any]]):
    with small_chunks():
        source, target = memory_catalog(), open_store("memory://")
        source.objects.put_bytes(b"data", ".tif")
        for what, value in history:
            step(source, target, what, value)
            whole(target, source)
        sync(source, target)
        whole(target, source)
        there = Catalog.open(target)
        assert digests(there) == digests(source)
        assert there.dataset(DATASET).pointers() == source.dataset(DATASET).pointers()
        assert there.dataset(DATASET).tags() == source.dataset(DATASET).tags()
        assert sync(source, target, deep=True).in_sync


def step(source: Catalog, target: Any, what: str, value: Any) -> None:
    dataset = source.dataset(DATASET)
    number = value if isinstance(value, int) and 0 < value <= dataset.head() else 0
    if what in {"commit", "hidden"}:
        items = [item(item_id, b"%d" % each) for item_id, each in value.items()]
        for each in value.values():
            source.objects.put_bytes(b"%d" % each, ".tif")
        try:
            commit(dataset, items=items, message="m", author=AUTHOR, advance=what == "commit")
        except Expired:
            return  # latest has expired
    elif what == "sync":
        sync(source, target, deep=value, workers=2)
    elif what == "die":
        with suppress(StorageUnavailable):
            sync(source, FailsAt(target, value), workers=2)
    elif what == "expire" and dataset.head():
        expire(dataset, keep_last=value, why="old", author=AUTHOR, apply=True)
    elif number and dataset.expiry(number) is None:
        if what == "tag":
            if f"t{number}" not in dataset.tag_names():
                dataset.tag(f"t{number}", number, author=AUTHOR)
        elif what in {"stable", "latest"} and dataset.record(number).advance:
            dataset.move(what, number, why="w", author=AUTHOR)
