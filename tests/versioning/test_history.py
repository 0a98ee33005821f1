"""Pins, pointers, tags, rollback, expiry: what a name means, and that it goes on meaning it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from version_helpers import AUTHOR, Clock, LosesReplies, Wrapped, again, at, local_store, memory_catalog, save

from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import Conflict, Expired, Immutable, Integrity, InvalidInput, NotFound
from versioning.numbered import NumberedLog
from versioning.pins import parse_pin, parse_ref
from versioning.records import ExpiryRecord, PointerRecord, time_text
from versioning.store import open_store


def three(catalog: Catalog) -> Dataset:
    dataset = catalog.dataset("ds")
    for value in range(1, 4):
        save(dataset, {"a": value})
    return dataset


def expire(dataset: Dataset, number: int) -> None:
    record = ExpiryRecord(
        number=number, why="policy: keep 2", author=AUTHOR, time="2026-05-01T00:00:00.000000Z", nonce="0"
    )
    dataset.store.put_record(f"datasets/{dataset.id}/expired/{number:08d}.json", record.encode())


NOON = datetime(2026, 1, 31, 12, 0, 0, 1, UTC)  # the first instant that is no longer meant

# -- pins


@pytest.mark.parametrize(
    ("text", "kind", "value", "written"),
    [
        ("ds@v3", "version", 3, "ds@v3"),
        ("ds@V3", "version", 3, "ds@v3"),
        ("ds@3", "version", 3, "ds@v3"),
        ("ds--v3", "version", 3, "ds@v3"),
        ("ds", "name", "latest", "ds@latest"),
        ("a-b_c@stable", "name", "stable", "a-b_c@stable"),
        ("ds@v2.1.4", "name", "v2.1.4", "ds@v2.1.4"),
        ("ds@2.1", "name", "2.1", "ds@2.1"),
        ("ds@Release_1", "name", "Release_1", "ds@Release_1"),
        ("ds@sha256:0123abcd", "digest", "sha256:0123abcd", "ds@sha256:0123abcd"),
        ("ds@{2026-01-31}", "date", datetime(2026, 2, 1, tzinfo=UTC), "ds@{2026-01-31}"),
        ("ds@{2026-01-31T12:00:00Z}", "date", NOON, "ds@{2026-01-31T12:00:00Z}"),
        ("ds@{2026-01-31T12:00}", "date", NOON, "ds@{2026-01-31T12:00}"),
        (
            "ds@{2026-01-31T12:00:00.5+02:00}",
            "date",
            datetime(2026, 1, 31, 10, 0, 0, 500_001, UTC),
            "ds@{2026-01-31T12:00:00.5+02:00}",
        ),
    ],
)
def test_pins_are_read(text, kind, value, written):
    pin = parse_pin(text)
    assert (pin.kind, pin.value, str(pin)) == (kind, value, written)


@pytest.mark.parametrize(
    "text",
    ["", "@v3", "DS@v3", "ds@", "ds@v0", "ds@v123456789", "ds@sha256:abc", "ds@sha256:" + "0" * 65,
     "ds@sha256:ABCDEF01",
     "ds@{}", "ds@{2026-13-01}", "ds@{2026-W05-6}", "ds@{20260131}", "ds@{2026-01-31x12}", "ds@{2026-01-31 12:00}",
     "ds@{9999-12-31}", "ds@{0001-01-01T00:00+23:00}", "ds@{yesterday}", "ds@a/b", "ds@a..b", "ds@v3@v4", "a--b",
     "ds--v0", "ds\n"],
)  # fmt: skip
def test_what_is_no_pin_is_refused(text):
    with pytest.raises(InvalidInput, match=r"is not a|is beyond") as caught:
        parse_pin(text)
    assert (caught.value.kind, caught.value.exit_code) == ("invalid-pin", 50)


def test_every_form_resolves(catalog: Catalog):
    dataset = three(catalog)
    dataset.tag("v1.0.0", 2, author=AUTHOR)
    dataset.move("stable", 1, why="tested", author=AUTHOR)
    digest = dataset.record(2).digest
    expected = {
        "ds@v1": 1,
        "ds--v2": 2,
        "ds": 3,
        "ds@latest": 3,
        "ds@stable": 1,
        "ds@v1.0.0": 2,
        f"ds@{digest}": 2,
        f"ds@{digest[:15]}": 2,
    }
    assert {pin: again(catalog).resolve(pin).number for pin in expected} == expected
    assert dataset.resolve("v2").pin == "ds@v2"
    assert dataset.resolve(parse_ref("ds", "v2")).collection_id == "ds--v2"


def test_dates_mean_what_latest_was():
    catalog = Catalog.create("memory://", clock=at("2026-01-01T10:00:00"))
    dataset = catalog.dataset("ds")
    for day, value in ((1, 1), (2, 2), (3, 3)):
        dataset._clock = at(f"2026-01-0{day}T10:00:00")
        save(dataset, {"a": value}, advance=value != 2)
    dataset._clock = at("2026-01-04T10:00:00")
    dataset.move("latest", 1, why="v3 was wrong", author=AUTHOR)
    dataset._clock = at("2026-01-05T10:00:00")
    save(dataset, {"a": 5})
    expected = {
        "{2026-01-01}": 1,
        "{2026-01-01T10:00:00Z}": 1,
        "{2026-01-02}": 1,  # v2 does not advance
        "{2026-01-03T09:59:59.999999Z}": 1,
        "{2026-01-03T10:00:00}": 3,
        "{2026-01-03}": 3,
        "{2026-01-04}": 1,
        "{2026-01-04T23:00:00-12:00}": 4,
        "{2026-01-05T10:00:00+00:00}": 4,
    }
    dataset._clock = at("2026-02-01T00:00:00")
    assert {ref: dataset.resolve(ref).number for ref in expected} == expected
    with pytest.raises(NotFound, match="had no version then"):
        dataset.resolve("{2025-12-31}")
    with pytest.raises(InvalidInput, match="not over yet"):
        dataset.resolve("{2026-02-01}")
    assert dataset.resolve("{2026-01-31}").number == 4  # over at this very instant


def test_what_is_unknown_says_what_there_is(catalog: Catalog):
    dataset = three(catalog)
    dataset.tag("v1.0.0", 1, author=AUTHOR)
    dataset.move("stable", 1, why="w", author=AUTHOR)
    with pytest.raises(
        NotFound, match=r"ds@v9 does not exist; versions: v1 v2 v3; names: latest stable v1.0.0. Did you mean ds@v3\?"
    ):
        catalog.resolve("ds@v9")
    with pytest.raises(NotFound, match="Did you mean ds@stable"):
        catalog.resolve("ds@stabel")
    with pytest.raises(NotFound, match=r"no dataset 'dss'; datasets: ds\. Did you mean ds\?"):
        catalog.resolve("dss@v1")
    with pytest.raises(NotFound, match="no version with the digest"):
        catalog.resolve("ds@sha256:00000000")
    with pytest.raises(NotFound, match="datasets: none"):
        memory_catalog().resolve("ds")
    with pytest.raises(NotFound) as caught:
        dataset.resolve("zzzzzz")
    assert (caught.value.kind, caught.value.hint) == ("no-such-version", None)


def test_many_versions_are_not_all_listed(catalog: Catalog):
    dataset = catalog.dataset("ds")
    for value in range(25):
        save(dataset, {"a": value})
    with pytest.raises(NotFound, match="versions: … v6 v7"):
        dataset.resolve("v99")
    assert again(catalog).dataset("ds").head() == 25


def test_short_digests_that_are_ambiguous(catalog: Catalog):
    dataset = three(catalog)
    digest = dataset.record(1).digest
    shared = digest[:16] + "0" * 55
    for number in (4, 5):
        record = dataset.record(3).model_copy(update={"number": number, "digest": digest[:17] + f"{number}" * 54})
        dataset.log.append(number, record.encode())
    with pytest.raises(InvalidInput, match="is ambiguous: v1, v4, v5") as caught:
        dataset.resolve(shared[:15])
    assert caught.value.hint == "Write more digits."
    assert dataset.resolve(digest).number == 1


def test_a_digest_that_comes_again_means_its_first_version(catalog: Catalog):
    dataset = three(catalog)
    fourth = save(dataset, {"a": 1}).version
    assert fourth.number == 4
    assert catalog.resolve(f"ds@{fourth.digest}").number == 1


def test_expired_versions_say_so(catalog: Catalog):
    dataset = three(catalog)
    dataset.tag("gold", 1, author=AUTHOR)
    expire(dataset, 1)
    for pin in ("ds@v1", "ds--v1", "ds@gold", f"ds@{dataset.record(1).digest}"):
        with pytest.raises(Expired, match=r"ds@v1 expired on 2026-05-01: policy: keep 2") as caught:
            again(catalog).resolve(pin)
        assert (caught.value.kind, caught.value.http_status, caught.value.exit_code) == ("expired", 410, 40)
    assert dataset.record(1).number == 1
    assert catalog.resolve("ds").number == 3
    with pytest.raises(Expired):
        dataset.move("stable", 1, why="w", author=AUTHOR)
    assert save(dataset, {"a": 9}).version.number == 4


# -- pointers


def test_rollback_and_what_comes_after(catalog: Catalog):
    dataset = three(catalog)
    entry = dataset.move("latest", 1, why="v3 was wrong", author=AUTHOR)
    assert (entry.number, entry.target, entry.seen, entry.previous) == (1, 1, 3, None)
    assert dataset.latest_number() == 1
    after = save(dataset, {"b": 1}).version
    assert (after.number, after.record.parent) == (4, 1)
    assert again(catalog).resolve("ds").number == 4
    assert [row.id for row in after.rows()] == ["a", "b"]


def test_a_version_whose_checks_failed(catalog: Catalog):
    dataset = catalog.dataset("ds")
    failed = save(dataset, {"a": 1}, advance=False).version
    assert dataset.latest() is None
    assert dataset.pointers() == {}
    with pytest.raises(NotFound, match="no version that latest could mean"):
        dataset.resolve("latest")
    with pytest.raises(InvalidInput, match="checks failed"):
        dataset.move("stable", failed.number, why="w", author=AUTHOR)
    assert save(dataset, {"a": 1}).version.number == 2
    assert dataset.latest_number() == 2


def test_pointers_keep_all_their_moves(catalog: Catalog):
    dataset = three(catalog)
    for target in (1, 3, 2):
        dataset.move("stable", target, why=f"to {target}", author=AUTHOR)
    moves = list(again(catalog).dataset("ds").moves("stable"))
    assert [(move.number, move.target, move.why) for move in moves] == [(3, 2, "to 2"), (2, 3, "to 3"), (1, 1, "to 1")]
    assert moves[0].previous is not None
    assert moves[2].previous is None
    assert dataset.pointers() == {"latest": 3, "stable": 2}
    assert dataset.pointer_names() == ["stable"]
    assert dataset.pointer("none") is None


def test_times_never_go_back(catalog: Catalog):
    dataset = three(catalog)
    dataset.move("stable", 1, why="w", author=AUTHOR)
    last = next(dataset.moves("stable")).time
    dataset._clock = at("1999-01-01T00:00:00")
    assert dataset.move("stable", 2, why="w", author=AUTHOR).time == last
    assert save(dataset, {"a": 7}).version.record.time == dataset.record(3).time


def test_no_pointer_to_nowhere(catalog: Catalog):
    dataset = three(catalog)
    with pytest.raises(NotFound, match="ds@v9 does not exist"):
        dataset.move("stable", 9, why="w", author=AUTHOR)
    with pytest.raises(InvalidInput, match="cannot be a pointer"):
        dataset.move("v2", 1, why="w", author=AUTHOR)


def test_a_pointer_that_others_keep_moving(catalog: Catalog):
    dataset = three(catalog)

    class Busy(Wrapped):
        def put_record(self, path, data):
            if "/pointers/" in path:
                rival = PointerRecord.decode(data, where="x").model_copy(update={"nonce": uuid.uuid4().hex})
                self.inner.put_record(path, rival.encode())
            return self.inner.put_record(path, data)

    with pytest.raises(Conflict, match="keep moving 'stable'"):
        Catalog.open(Busy(catalog.store)).dataset("ds").move("stable", 1, why="w", author=AUTHOR)
    assert len(list(dataset.moves("stable"))) == 16


def test_a_writer_that_died_leaves_no_pointer(tmp_path):
    catalog = Catalog.create(local_store(tmp_path / "c"), clock=Clock())
    dataset = three(catalog)
    (tmp_path / "c" / "datasets" / "ds" / "pointers" / "gold").mkdir(parents=True)
    assert dataset.pointer_names() == []
    assert dataset.tag("gold", 1, author=AUTHOR).target == 1


# -- tags


def test_tags_never_move(catalog: Catalog):
    dataset = three(catalog)
    first = dataset.tag("v1.0.0", 1, author=AUTHOR, message="first")
    assert dataset.tag("v1.0.0", 1, author="another") == first
    with pytest.raises(Immutable, match="is v1; tags never move") as caught:
        dataset.tag("v1.0.0", 2, author=AUTHOR)
    assert caught.value.exit_code == 20
    assert first.digest == dataset.record(1).digest
    dataset.tag("a+b", 2, author=AUTHOR)
    assert [(tag.tag, tag.target) for tag in again(catalog).dataset("ds").tags()] == [("a+b", 2), ("v1.0.0", 1)]
    with pytest.raises(NotFound):
        dataset.tag("v2.0.0", 9, author=AUTHOR)


def test_a_tag_and_a_pointer_cannot_share_a_name(catalog: Catalog):
    dataset = three(catalog)
    dataset.tag("gold", 1, author=AUTHOR)
    with pytest.raises(Conflict, match="has a tag 'gold'"):
        dataset.move("gold", 2, why="w", author=AUTHOR)
    dataset.move("silver", 1, why="w", author=AUTHOR)
    with pytest.raises(Conflict, match="has a pointer 'silver'"):
        dataset.tag("silver", 1, author=AUTHOR)


def test_replies_that_are_lost_do_not_confuse(catalog: Catalog):
    shaky = Catalog.create(LosesReplies(open_store("memory://")), clock=Clock())
    dataset = three(shaky)
    assert dataset.head() == 3
    assert dataset.move("stable", 2, why="w", author=AUTHOR).number == 1
    assert dataset.tag("v1.0.0", 2, author=AUTHOR).target == 2
    assert (shaky.resolve("ds@stable").number, len(list(dataset.moves("stable")))) == (2, 1)


def test_a_tag_that_vanishes_after_it_was_refused(catalog: Catalog):
    dataset = three(catalog)

    class Refuses(Wrapped):
        def put_record(self, path, data):
            return False

    with pytest.raises(Immutable, match="is another version"):
        Catalog.open(Refuses(catalog.store)).dataset("ds").tag("gold", 1, author=AUTHOR)
    assert dataset.tags() == []


# -- catalogs and logs


def test_catalogs(any_store):
    catalog = Catalog.create(any_store, title="Land cover", clock=Clock())
    same = Catalog.create(any_store, title="another", clock=Clock())
    assert (same.record, same.settings.title, same.settings.number) == (catalog.record, "Land cover", 1)
    assert (catalog.dataset_ids(), catalog.url) == ([], any_store.url)
    save(catalog.dataset("b"), {"a": 1})
    save(catalog.dataset("a"), {"a": 1})
    catalog.dataset("empty")
    any_store.put_new("datasets/Not a dataset/x", b"")
    any_store.put_new("datasets/half/versions/other.json", b"")
    assert again(catalog).dataset_ids() == ["a", "b"]
    with pytest.raises(InvalidInput, match="cannot be a dataset's id"):
        catalog.dataset("../a")
    assert repr(catalog.dataset("a")) == "Dataset('a')"
    assert any_store.url in repr(catalog)


def test_no_catalog(tmp_path):
    with pytest.raises(NotFound, match="is not a stacpin catalog") as caught:
        Catalog.open(str(tmp_path))
    assert caught.value.kind == "no-such-catalog"
    with pytest.raises(NotFound, match="does not exist"):
        Catalog.open(str(tmp_path / "none"))
    assert Catalog.create(str(tmp_path / "new")).url == str(tmp_path / "new")


@pytest.mark.parametrize("method", [Catalog.open, Catalog.create])
def test_a_newer_format_is_refused(method):
    store = open_store("memory://")
    store.put_new("stacpin.json", b'{"created":"2030-01-01T00:00:00.000000Z","format":2,"id":"x"}')
    with pytest.raises(InvalidInput, match="format 2; this stacpin reads format 1") as caught:
        method(store)
    assert (caught.value.kind, "Upgrade" in caught.value.hint) == ("newer-format", True)
    assert [entry.path for entry in store.list("")] == ["stacpin.json"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format":"two"}', b'{"format":1}', b"\xff"])
def test_a_damaged_mark(data):
    store = open_store("memory://")
    store.put_new("stacpin.json", data)
    with pytest.raises(Integrity, match=r"stacpin\.json"):
        Catalog.open(store)


def test_the_head_is_found_from_any_start():
    store = open_store("memory://")
    for number in range(1, 23):
        assert NumberedLog(store, "log").head() == number - 1
        assert NumberedLog(store, "log").append(number, b"%d" % number)
    warm = NumberedLog(store, "log")
    assert (warm.head(), warm.get(7), warm.find(23)) == (22, b"7", None)
    NumberedLog(store, "log").append(23, b"23")
    assert warm.head() == 23
    assert not NumberedLog(store, "log").append(23, b"other")


def test_an_empty_entry_is_damage():
    store = open_store("memory://")
    store.put_new("log/00000001.json", b"")
    with pytest.raises(Integrity, match=r"log/00000001\.json is empty") as caught:
        NumberedLog(store, "log").get(1)
    assert caught.value.kind == "truncated"


def test_members_of_a_later_revision_are_kept():
    data = (
        b'{"author":"a","later":{"x":1},"nonce":"n","number":1,"time":"2026-03-01T00:00:00.000000Z",'
        b'"type":"expiry","why":"w"}'
    )
    assert ExpiryRecord.decode(data, where="x").encode() == data


def test_times_of_records_sort_as_text():
    assert time_text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000Z"
