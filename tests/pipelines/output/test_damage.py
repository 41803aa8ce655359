"""A bit flipped anywhere in an output: it is told, or does no harm; and nothing is lost by it."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main
from pipelines.output.commit_log import CommitLog
from pipelines.output.compaction import compact
from pipelines.output.damage import digest, is_as_named, name_of, seal, unseal
from pipelines.output.erasure import erase_pending
from pipelines.output.forgotten import bury
from pipelines.output.lock import Lock
from pipelines.output.redoing import redo
from pipelines.output.run_records import RunRecord
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.output.views import write_views
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError
from tests.support.damaged import assert_all_there, flipped, tag, told
from tests.support.mortal import Killed, mortal
from tests.support.outputs import (
    MODEL,
    RUN,
    Build,
    add,
    commit,
    content,
    copy_to,
    s3_with_the_faults,
    tables,
)

TABLES = ("tags", "embeddings", "failures", "clips")
NO_DATA = ("views.sql", "_runs/", "_lock/")
"""What may be changed without a word: no row depends on it, and the next run writes it anew."""


@pytest.fixture
def without_timeline(settings: Settings) -> Settings:
    return replace(settings, tables=TABLES)


@pytest.fixture
def store(out_url: str, without_timeline: Settings) -> Store:
    opened = open_store(out_url)
    open_output(opened, without_timeline)
    return opened


@pytest.fixture
def local(tmp_path: Path, without_timeline: Settings) -> Store:
    opened = open_store(str(tmp_path / "local"))
    open_output(opened, without_timeline)
    return opened


@pytest.fixture
def everything(local: Store, staged_table: Build) -> dict[str, bytes]:
    """An output with a file of every kind, in which "h" is forgotten."""
    add(local, staged_table([("a", None, "r1"), ("b", "timeout", "r1")]))
    add(local, staged_table([("b", None, "r2")]))
    compact(CommitLog(local, MODEL), RUN)  # leaves emptied files
    add(local, staged_table([("c", None, "r3"), ("h", None, "r3")]))
    bury(local, "forget", ["file:///h"])
    erase_pending(local, RUN)
    commit(local, staged_table([("d", None, "r4"), ("e", "empty", "r4")]))
    stage(staged_table([("f", None, "r5")]), local, MODEL)
    RunRecord("r5", ["tag"], {}, MODEL).write(local)
    with Lock(local, MODEL, "r5"):
        left = local.read(f"_lock/{MODEL}.json")
    local.write(f"_lock/{MODEL}.json", left)
    write_views(local)
    return content(local)


def kind(path: str) -> str:
    """The kind of a file of an output."""
    folder, _, name = path.partition("/")
    return folder + Path(name).suffix if "." in name else path


def test_there_is_a_file_of_every_kind(everything: dict[str, bytes]) -> None:
    kinds = {kind(path) for path in everything}
    assert kinds == {
        *("_output.json", "_log.json", "_log.published", "_staging.parquet", "_lock.json"),
        *("_runs.json", "_forgotten.json", "_forgotten/key", "views.sql"),
        *(f"{table}.parquet" for table in TABLES),
    }


@pytest.mark.usefixtures("without_fsync")
def test_a_flipped_bit_is_told(everything: dict[str, bytes], tmp_path: Path) -> None:
    """At some positions of every file, but of those that no row depends on."""
    store = copy_to(str(tmp_path / "out"), everything)
    assert told(store) == []
    rng = random.Random(1)
    for path, data in everything.items():
        for _ in range(0 if path.startswith(NO_DATA) else 12):
            bit = rng.randrange(8 * len(data))
            store.write(path, flipped(data, bit))
            assert any(path in line for line in told(store)), (path, bit)
        store.write(path, data)
    assert told(store) == []


@pytest.mark.usefixtures("without_fsync")
def test_the_next_run_loses_and_doubles_nothing(
    everything: dict[str, bytes], tmp_path: Path, without_timeline: Settings, staged_table: Build
) -> None:
    """Either it ends with a line that names the file, and is right once that is restored, or it is
    right at once, but for rows that ``--verify`` tells.
    """
    rng = random.Random(2)
    for i, (path, data) in enumerate(everything.items()):
        for j in range(2):
            broken = everything | {path: flipped(data, rng.randrange(8 * len(data)))}
            store = copy_to(str(tmp_path / f"{i}-{j}"), broken)
            try:
                tag(store, without_timeline, staged_table)
            except CommandError as error:
                assert path in str(error), path
                store.write(path, data)
                tag(store, without_timeline, staged_table)
            if any(path in line for line in told(store)):
                store.write(path, data)  # a file that no run reads: tables, markers
            assert told(store) == [], path
            assert_all_there(store, "abcdefg")


def test_every_bit_of_sealed_json_counts() -> None:
    """Whatever bit is flipped, what is left is no JSON, has another hash, or has another field."""
    plain = {"rows": {"clips": 1}, "published_at": None, "é": [True, 1.5]}
    for indent in (None, 1):
        data = seal(plain, indent)
        assert unseal(data) == plain
        for bit in range(8 * len(data)):
            try:
                assert unseal(flipped(data, bit)).keys() - plain.keys()
            except ValueError:
                continue
    assert unseal(b'{"of": "the first version"}') == {"of": "the first version"}
    for broken in (b"", b"[]", b"[" * 100_000, b"7", b'{"sha256": 1}', b"\xff\xfe", data[:-1]):
        with pytest.raises(ValueError, match=r".*"):
            unseal(broken)


def test_a_name_holds_the_hash_of_the_bytes() -> None:
    data = bytes(range(100))
    assert name_of(data) != name_of(data)
    assert name_of(data).endswith(f"-{digest(data)}.parquet")
    assert is_as_named(name_of(data), data)
    assert not any(is_as_named(name_of(data), flipped(data, bit)) for bit in range(800))
    assert is_as_named("00000000000000000000000000000000.parquet", data), "of the first version"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "cut at the front": lambda data: data[1:],
    "longer": lambda data: data + b"\0",
    "a bit": lambda data: flipped(data, 4 * len(data)),
    "text": lambda data: b"no table",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_staged_file_is_moved_aside_and_its_clips_are_done_again(
    store: Store,
    without_timeline: Settings,
    staged_table: Build,
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = (stage(staged_table([(clip, None, "r")], clip), store, MODEL) for clip in "ab")
    assert bad != good
    path = f"_staging/{MODEL}/{bad}"
    data = damage(store.read(path))
    store.write(path, data)
    (line,) = told(store)
    assert path in line
    tag(store, without_timeline, staged_table)
    assert_all_there(store)
    extra = {row["clip_id"]: row["extra"] for row in tables(store)["clips"]}
    assert (extra["a"], extra["b"]) == ("", "b"), "a was made anew, b was staged before"
    assert store.list("_staging") == []
    assert store.read(f"_damaged/{path}") == data, "nothing is deleted"
    (warning,) = [text for text in caplog.messages if path in text]
    assert "_damaged" in warning
    assert [model.n_set_aside for model in status(store).models] == [1]
    assert told(store) == []


@pytest.mark.parametrize("name", ["0" * 32 + ".parquet", "stranger.parquet"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_staged_file_without_a_hash_counts_if_it_can_be_read(
    local: Store, without_timeline: Settings, staged_table: Build, name: str, damage: str
) -> None:
    data = local.read(f"_staging/{MODEL}/{stage(staged_table([('a', None, 'r')]), local, MODEL)}")
    local.write(f"_staging/{MODEL}/{name}", DAMAGE[damage](data))
    tag(local, without_timeline, staged_table)
    assert local.list("_damaged") == [f"_damaged/_staging/{MODEL}/{name}"]
    assert_all_there(local)


@s3_with_the_faults
@pytest.mark.usefixtures("without_fsync")
@pytest.mark.parametrize("which", ["staged", "published"])
def test_an_entry_is_done_again_killed_at_every_single_change(
    out_url: str, without_timeline: Settings, staged_table: Build, which: str
) -> None:
    """One that cannot be published, as a staged file was damaged, and one whose table file was."""
    begun = open_store(f"{out_url}/begun")
    open_output(begun, without_timeline)
    add(begun, staged_table([("a", None, "r1"), ("b", "empty", "r1")]))
    make = commit if which == "staged" else add
    make(begun, staged_table([("c", None, "r2"), ("d", "timeout", "r2")]))
    path = begun.list("_staging" if which == "staged" else "tags")[-1]
    begun.write(path, flipped(begun.read(path), 100))
    before = content(begun)
    if which == "staged":
        with pytest.raises(CommandError, match=r"entry 1 .*--redo-entry 1"):
            tag(begun, without_timeline, staged_table)
    for n in range(100):
        store = copy_to(f"{out_url}/{n}", before)
        try:
            tag(mortal(store, n), without_timeline, staged_table, again=1)
            survived = True
        except Killed:
            survived = False
        tag(store, without_timeline, staged_table, again=1)
        assert_all_there(store)
        assert told(store) == [], n
        assert {row["clip_id"] for row in tables(store)["failures"]} == {"b"}
        if survived:
            break
    assert n > 15


def test_an_entry_that_never_was_cannot_be_done_again(local: Store, staged_table: Build) -> None:
    add(local, staged_table([("a", None, "r1")]))
    for number in (1, -1, 10**9):
        with pytest.raises(CommandError, match=f"no entry {number} .*: 0$"):
            redo(CommitLog(local, MODEL), RUN, number)


def test_damage_is_not_copied_into_a_merged_file(local: Store, staged_table: Build) -> None:
    for clip in "ab":
        add(local, staged_table([(clip, None, "r")]))
    path = local.list("embeddings")[0]
    data = local.read(path)
    before = local.list("clips")
    for bit in (100, 4 * len(data), 8 * len(data) - 40):
        local.write(path, flipped(data, bit))
        with pytest.raises(CommandError, match=f"{path} was changed .*--redo-entry 0"):
            compact(CommitLog(local, MODEL), RUN)
    assert local.list("clips") == before


BY_HAND = (
    b'{"number":2,"run_id":"r","run_date":"2026-11-26","committed_at":"","writer":"",'
    b'"staged":[["x",[0],0]],"clip_ids":["c"],"failed":[],"outputs":{}}'
)
ENTRY = "_log/m-1/00000002.json"
LOGS = {
    "a gap": ("_log/m-1/00000000.json", None),
    "a note": ("_log/m-1/notes.txt", b"to do"),
    "a note that looks like an entry": ("_log/m-1/notes.json", b"{}"),
    "a copy": ("_log/m-1/00000000 (copy).json", b"{}"),
    "a short number": ("_log/m-1/1.json", b"{}"),
    "a folder": ("_log/m-1/old/00000000.json", b"{}"),
    "half an entry": (ENTRY, BY_HAND[:50]),
    "an empty entry": (ENTRY, b""),
    "binary": (ENTRY, bytes(range(256))),
    "no object": (ENTRY, b"[1]"),
    "wrong fields": (ENTRY, b'{"number": 2}'),
    "a field too many": (ENTRY, BY_HAND.replace(b'"failed"', b'"more":1,"failed"')),
    "a row that is text": (ENTRY, BY_HAND.replace(b"[0]", b'["0"]')),
    "a clip that is a number": (ENTRY, BY_HAND.replace(b'"c"', b"7")),
    "a table that is none": (ENTRY, BY_HAND.replace(b"{}", b'{"tables":["x"]}')),
    "another number": (ENTRY, BY_HAND.replace(b":2", b":3")),
    "a path that leads out": (ENTRY, BY_HAND.replace(b'"x"', b'"../x"')),
    "endless": (ENTRY, BY_HAND[:-1] + b',"replaces":[[0,1000000000000]]}'),
    "far away": ("_log/m-1/99999999.json", BY_HAND.replace(b":2", b":99999999")),
}


@pytest.mark.parametrize(("path", "data"), LOGS.values(), ids=LOGS)
def test_a_broken_log_is_told_in_a_line_that_names_the_file(
    store: Store,
    without_timeline: Settings,
    staged_table: Build,
    path: str,
    data: bytes | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for clip in "ab":
        add(store, staged_table([(clip, None, "r")]))
    if data is None:
        store.remove([path])
    else:
        store.write(path, data)
    wrong = path if "99999999" not in path else f"{ENTRY} is missing"
    with pytest.raises(CommandError, match=r"^[^\n]*$") as error:
        tag(store, without_timeline, staged_table)
    assert wrong in str(error.value)
    assert main(["status", store.root, "--verify"]) == Exit.DAMAGED
    assert wrong in capsys.readouterr().out
    assert main(["compact", store.root]) == Exit.COMMAND
    assert wrong in capsys.readouterr().err
