"""A run that dies is taken over by the next: what was stored and proven is not done again, and nothing is believed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import LABELS, RASTERS, Project, features, pixels, write_cog, write_geojson, write_raster

import ingest.unfinished
import ingest.workers
from ingest import journal
from ingest.run import Run
from ingest.staging import find_staged, mark_discarded
from versioning.catalog import Catalog
from versioning.errors import Integrity, InvalidInput, StacpinError
from versioning.store import Entry, Store

FILES = 12
WGS = LABELS | {"crs": "EPSG:4326"}


@pytest.fixture
def tiles(project: Project) -> Project:
    """Files that become COGs, ones that are COGs already, and labels."""
    for number in range(FILES):
        write = write_cog if number % 2 else write_raster
        write(project.folder / f"t{number:02}.tif", pixels(number))
    write_geojson(project.folder / "labels.geojson")
    project.recipe({"scenes": RASTERS, "labels": WGS})
    return project


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no journal is written since its time has come: the tests count them."""
    monkeypatch.setattr(journal, "_SECONDS", 3600.0)


class Counts:
    """A store that counts what is done to objects; see `Counted`."""

    def __init__(self) -> None:
        self.put: list[str] = []
        self.read: list[str] = []


def counted(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Count the objects that are put and read."""
    counts, store = Counts(), catalog.store
    put, stream, get = store.put_new, store.stream, store.get

    def put_new(path: str, data: bytes) -> bool:
        if path.startswith("objects/"):
            counts.put.append(path)
        return put(path, data)

    def streamed(path: str) -> Any:
        counts.read.append(path)
        return stream(path)

    def got(path: str) -> bytes:
        if path.startswith("objects/"):
            counts.read.append(path)
        return get(path)

    monkeypatch.setattr(store, "get", got)
    monkeypatch.setattr(store, "put_new", put_new)
    monkeypatch.setattr(store, "stream", streamed)
    return counts


class Died(Exception):
    """What a test ends a run with."""


def die_after(run: Run, files: int) -> None:
    """Let a run end, by an exception that it does not expect, after so many files."""

    def listen(event: Any) -> None:
        if event.step == "convert" and event.done == files:
            raise Died

    run.on_event = listen
    run.plan()
    with pytest.raises(Died):
        run.convert()


def finish(run: Run) -> Any:
    run.plan()
    run.convert()
    run.check()
    staged = run.staged()
    run.verify()
    return staged


@pytest.mark.parametrize("done", [1, 5, FILES, FILES + 1])
def test_what_was_proven_is_not_done_again(tiles: Project, done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Project(tiles.folder, Catalog.create("memory://")).must_ingest().digest
    first = tiles.run()
    die_after(first, done)
    counts = counted(tiles.catalog, monkeypatch)
    made: list[str] = []
    convert = ingest.workers.convert
    monkeypatch.setattr("ingest.workers.convert", lambda task: (made.append(task.item), convert(task))[1])
    run = tiles.run()
    run.plan()
    run.convert()
    assert run.resumed == done
    assert run.summary() | {"bytes": 0, "kept": 0} == {
        "files": FILES + 1,
        "resumed": done,
        "objects": FILES + 1,
        "bytes": 0,
        "kept": 0,
    }
    assert len(made) == len(counts.put) == len(counts.read) == FILES + 1 - done
    run.check()
    staged = run.staged()
    run.verify()
    from ingest.publish import commit_staged

    assert commit_staged(tiles.catalog, staged, message="m", author="a").version.digest == wanted
    # The commit reads what was taken over, which may have been damaged since, and nothing that this run has read.
    assert len(made) == len(counts.put) == FILES + 1 - done
    assert len(counts.read) == len(set(counts.read)) == FILES + 1
    # what it took over from is free, and says by whom
    left = json.loads(tiles.catalog.store.get(f"staging/{first.id}/discarded.json"))
    assert run.id in left["why"]


def test_what_was_damaged_since_it_was_proven_is_not_committed(tiles: Project) -> None:
    """It is there with its size, and its bytes are others: only reading it shows that."""
    from ingest.publish import commit_staged

    die_after(tiles.run(), 6)
    (path, *_) = sorted(tiles.objects())
    file = tiles.catalog.store.local_root / path
    right = file.read_bytes()
    file.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    run = tiles.run()
    staged = finish(run)
    assert run.resumed == 6
    with pytest.raises(Integrity, match="altered") as caught:
        commit_staged(tiles.catalog, staged, message="m", author="a")
    assert path in caught.value.message
    assert tiles.versions() == []
    # As the error says: it is removed, and made once more.
    file.unlink()
    assert tiles.must_ingest().number == 1
    assert file.read_bytes() == right


def test_a_run_that_failed_says_why_and_lists_its_objects(tiles: Project) -> None:
    write_raster(tiles.folder / "z.tif", pixels(99))
    run = tiles.run()
    run.plan()
    (tiles.folder / "z.tif").unlink()
    with pytest.raises(StacpinError):
        run.convert()
    failed = json.loads(tiles.catalog.store.get(f"staging/{run.id}/failed.json"))
    assert failed["reason"]["kind"] == "not-found"
    assert "z.tif" in failed["reason"]["message"]
    assert {each["href"] for each in failed["objects"]} == tiles.objects()
    assert len(tiles.objects()) == FILES + 1
    assert list(find_staged(tiles.catalog)) == []


def test_a_chain_of_deaths_adds_up(tiles: Project) -> None:
    for done in (3, 6, 9):
        die_after(tiles.run(), done)
    run = tiles.run()
    finish(run)
    assert run.resumed == 9


def test_what_changed_meanwhile_is_made_again(tiles: Project) -> None:
    die_after(tiles.run(), FILES + 1)
    write_raster(tiles.folder / "t00.tif", pixels(77))
    run = tiles.run()
    staged = finish(run)
    assert run.resumed == FILES
    assert len(staged.items) == FILES + 1


def test_another_recipe_takes_nothing_over(tiles: Project) -> None:
    die_after(tiles.run(), 5)
    tiles.recipe({"scenes": RASTERS | {"title": "another"}, "labels": WGS})
    run = tiles.run()
    finish(run)
    assert run.resumed == 0


def test_an_object_that_is_gone_or_cut_is_made_again(tiles: Project) -> None:
    first = tiles.run()
    die_after(first, 6)
    hrefs = sorted(tiles.objects())
    root = tiles.catalog.store.local_root
    (root / hrefs[0]).unlink()
    run = tiles.run()
    finish(run)
    assert run.resumed == 5
    assert (root / hrefs[0]).exists()


def test_a_staged_run_is_taken_over_and_kept(tiles: Project) -> None:
    first, _ = tiles.stage()
    write_raster(tiles.folder / "new.tif", pixels(50))
    run = tiles.run()
    finish(run)
    assert run.resumed == FILES + 1
    assert {each.id for each in find_staged(tiles.catalog)} == {first.id, run.id}


def test_a_discarded_run_gives_nothing(tiles: Project) -> None:
    first = tiles.run()
    die_after(first, 5)
    mark_discarded(tiles.catalog, first.id)
    run = tiles.run()
    finish(run)
    assert run.resumed == 0


def test_labels_that_were_exported_again_leave_nothing_behind(tiles: Project) -> None:
    tiles.must_ingest()
    before = {entry.path for entry in tiles.catalog.store.list("")}
    rows = features()
    rows[0]["geometry"]["coordinates"][0][1][0] += 0.6e-7
    write_geojson(tiles.folder / "labels.geojson", rows)
    run = tiles.run()
    assert finish_nothing(run)
    assert run.summary()["files"] == 1  # they were made, to see whether they are the parent's
    assert {entry.path for entry in tiles.catalog.store.list("")} == before


def finish_nothing(run: Run) -> bool:
    run.plan()
    run.convert()
    run.check()
    return run.staged() is None


# --- what is believed


def journals(catalog: Catalog) -> list[str]:
    return sorted(entry.path for entry in catalog.store.list("staging") if "/journal/" in entry.path)


def forged(data: bytes) -> dict[str, bytes]:
    head, _, body = data.partition(b"\n")
    other = json.loads(body.splitlines()[0]) | {"digest": "r1:" + "00" * 32}
    line = json.dumps(other).encode()
    return {
        "altered": head + b"\n" + body.replace(b'"kept":', b'"Kept":', 1),
        "replaced": head + b"\n" + line,
        "more": data + b"\n" + line,
        "no head": body,
        "no mac": b"{}\n" + line,
        "empty": b"",
        "no text": b"\xff\x00" * 50,
        "deep": b"[" * 100_000,
    }


@pytest.mark.parametrize("how", list(forged(b'{}\n{"kept":1}')))
def test_a_forged_journal_is_not_believed(tiles: Project, how: str) -> None:
    die_after(tiles.run(), 5)
    (path,) = journals(tiles.catalog)
    tiles.catalog.store.replace(path, forged(tiles.catalog.store.get(path))[how])
    run = tiles.run()
    finish(run)
    assert run.resumed == 0


def test_a_journal_cannot_be_moved_to_another_run(tiles: Project) -> None:
    first = tiles.run()
    die_after(first, 5)
    (path,) = journals(tiles.catalog)
    store = tiles.catalog.store
    begin = store.get(f"staging/{first.id}/begin.json")
    mark_discarded(tiles.catalog, first.id)
    store.put_new("staging/other/begin.json", begin)
    store.put_new("staging/other/journal/00000001.ndjson", store.get(path))
    run = tiles.run()
    finish(run)
    assert run.resumed == 0


def test_another_user_makes_everything_again_and_finds_it_there(
    tiles: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiles.run()
    die_after(first, 5)
    before = tiles.objects()
    monkeypatch.setenv("STACPIN_CACHE", str(tmp_path / "another"))
    run = tiles.run()
    finish(run)
    assert run.resumed == 0
    assert before < tiles.objects()
    # whose journal could not be read is not thrown away: its owner may come back
    assert tiles.catalog.store.size(f"staging/{first.id}/discarded.json") is None


def test_hostile_beginnings_do_no_harm(tiles: Project) -> None:
    store = tiles.catalog.store
    for number, data in enumerate((b"", b"[]", b"7", b"\xff", b'{"dataset":{}}', b"[" * 1000, b" " * 100_000)):
        store.put_new(f"staging/hostile{number}/begin.json", data)
    store.put_new("staging/hostile9/journal/x.ndjson", b"")
    store.put_new("staging/loose", b"")
    assert tiles.must_ingest().number == 1


def test_the_key_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACPIN_CACHE", str(tmp_path / "fresh"))
    key = journal.journal_key()
    assert len(key) == 32
    assert journal.journal_key() == key
    (path,) = (tmp_path / "fresh").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    assert journal.journal_key() not in {key, b"short"}
    monkeypatch.setenv("STACPIN_CACHE", "/proc/nowhere")
    assert journal.journal_key() != journal.journal_key()


# --- which runs are over


def unfinished(project: Project, **begin: Any) -> str:
    """A run of this recipe that has begun, as another process has written it."""
    recipe = project.run().recipe
    about = {"dataset": recipe.dataset, "recipe": recipe.digest, **begin}
    run_id = f"run-{len(begin)}-{begin.get('process')}"
    project.catalog.store.put_new(f"staging/{run_id}/begin.json", json.dumps(about).encode())
    return run_id


def is_over(project: Project, run_id: str) -> bool:
    finish(project.run())
    return project.catalog.store.size(f"staging/{run_id}/discarded.json") is not None


def test_a_run_that_lives_is_left_alone(tiles: Project) -> None:
    import platform

    assert not is_over(tiles, unfinished(tiles, host=platform.node(), process=os.getpid()))


def test_a_run_whose_process_is_gone_is_over(tiles: Project) -> None:
    import platform

    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert is_over(tiles, unfinished(tiles, host=platform.node(), process=process.pid))


@pytest.mark.parametrize(("days", "over"), [(1, False), (8, True)])
def test_a_run_on_another_machine_is_over_after_a_week(
    tiles: Project, days: int, over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = unfinished(tiles, host="elsewhere", process=7)
    store: Store = tiles.catalog.store
    monkeypatch.setattr(store, "now", lambda: datetime.now(UTC) + timedelta(days=days))
    assert is_over(tiles, run_id) == over


# --- kill -9

KILLED = """
import os, signal, sys
from pathlib import Path
from ingest import journal
from ingest.recipe import load_recipe
from ingest.publish import commit_staged
from ingest.run import Run
from versioning.catalog import Catalog

catalog, folder, left = Catalog.open(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
journal._EVERY, journal._SECONDS = 2, 3600.0

def count(name):
    inner = getattr(catalog.store, name)
    def call(path, *rest):
        global left
        left -= 1
        mine = left  # other threads go on counting
        if mine == 0 and sys.argv[4] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = inner(path, *rest)
        if mine == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(catalog.store, name, call)

for name in ("put_new", "put_record"):
    count(name)
run = Run(catalog, load_recipe(folder / "stacpin.yaml"), folder, workers=1)
run.plan(); run.convert(); run.check(); staged = run.staged(); run.verify()
commit_staged(catalog, staged, message="m", author="a")
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_write_the_next_run_goes_on(tiles: Project, tmp_path: Path, when: str) -> None:
    """Every run is killed a few writes further on; what a journal named when it died is never put again."""
    wanted = Project(tiles.folder, Catalog.create("memory://")).must_ingest().digest
    step = 1 if os.environ.get("STACPIN_LONG") else 8
    deaths = 0
    for writes in range(1 if step == 1 else 2, 200, step):
        project = Project(tiles.folder, Catalog.create(str(tmp_path / f"{when}{writes}")))
        words = [sys.executable, "-c", KILLED, project.catalog.url, str(project.folder), str(writes), when]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        deaths += 1
        assert project.versions() in ([], [1])
        noted = sum(len(project.catalog.store.get(path).splitlines()) - 1 for path in journals(project.catalog))
        committed = project.versions() == [1]
        run = project.run()
        run.plan()
        run.convert()
        assert run.resumed == (0 if committed else noted)
        run.check()
        staged = run.staged()
        if not committed:
            from ingest.publish import commit_staged

            run.verify()
            commit_staged(project.catalog, staged, message="m", author="a")
        assert project.catalog.resolve("fields").digest == wanted
        assert project.versions() == [1]
    assert deaths > FILES / step  # every file is a write at least


def test_on_s3_too(tiles: Project, s3_catalog: Any) -> None:
    project = Project(tiles.folder, s3_catalog())
    die_after(project.run(), 7)
    run = project.run()
    finish(run)
    assert run.resumed == 7


def test_an_entry_of_the_listing_is_as_large_as_it_says(tiles: Project) -> None:
    """What is too large to be a journal is not read at all."""
    die_after(tiles.run(), 5)
    (path,) = journals(tiles.catalog)
    huge = Entry(path, 2**40, datetime.now(UTC))
    assert ingest.unfinished._read(tiles.catalog, huge, "run", 1, b"") == []
    with pytest.raises(InvalidInput):
        tiles.run().convert()  # the order of steps holds for resumed runs as well
