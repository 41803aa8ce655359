"""Tombstones name nobody, know whom they stand for, and outlive merging and crashes."""

import json

import pyarrow as pa
import pytest

from pipelines.output.forgotten import Forgotten, Tombstones, bury, lift, merge
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError
from tests.support.mortal import Killed, mortal

URIS = ("file:///a b.wav", "s3://bucket/ü.wav", "file+bytes:///%ff.wav")


@pytest.fixture
def store(tmp_path) -> Store:  # type: ignore[no-untyped-def]
    return open_store(str(tmp_path / "out"))


def done(store: Store) -> None:
    """Take the names out, as when they are erased."""
    for stone in Forgotten.read(store).tombstones:
        Tombstones(stone.run_id, stone.hashes).write(store)


def test_without_any_nothing_is_forgotten(store: Store) -> None:
    forgotten = Forgotten.read(store)
    assert "file:///a" not in forgotten
    assert forgotten.mask(pa.chunked_array([["a", "b"], ["c"]])).to_pylist() == [False] * 3
    assert forgotten.pending == ()


def test_names_are_there_until_they_are_erased(store: Store) -> None:
    bury(store, "run-1", URIS)
    assert Forgotten.read(store).pending == tuple(sorted(URIS))
    done(store)
    forgotten = Forgotten.read(store)
    assert forgotten.pending == ()
    mask = forgotten.mask(pa.chunked_array([["x", *URIS[:2]], [URIS[2]], []], pa.string()))
    assert mask.to_pylist() == [False, True, True, True]
    for path in store.list(""):
        text = store.read(path).decode()
        assert not any(uri in text or json.dumps(uri) in text for uri in URIS)


def test_another_output_has_other_hashes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    hashes = []
    for name in "ab":
        store = open_store(str(tmp_path / name))
        bury(store, "run-1", URIS[:1])
        bury(store, "run-2", URIS[:1])
        first, second = Forgotten.read(store).tombstones
        assert first.hashes == second.hashes
        hashes.append(first.hashes)
    assert hashes[0] != hashes[1]


def test_lifted_ones_are_gone_from_all_files(store: Store) -> None:
    bury(store, "run-1", URIS)
    bury(store, "run-2", URIS[:1])
    done(store)
    assert lift(store, [URIS[0], "file:///other"]) == 1
    forgotten = Forgotten.read(store)
    assert [uri in forgotten for uri in URIS] == [False, True, True]
    assert store.list("_forgotten") == ["_forgotten/key", "_forgotten/run-1.json"]


def test_merging_killed_at_every_change_forgets_nobody(store: Store) -> None:
    for n in range(10):
        for number, uri in enumerate(URIS):
            bury(store, f"run-{n}-{number}", [uri])
        done(store)
        bury(store, f"pending-{n}", ["file:///pending"])
        try:
            merge(mortal(store, n), f"merged-{n}")
            survived = True
        except Killed:
            survived = False
        forgotten = Forgotten.read(store)
        assert all(uri in forgotten for uri in (*URIS, "file:///pending"))
        assert forgotten.pending == ("file:///pending",)
        merge(store, f"merged-again-{n}")
        assert len(Forgotten.read(store).tombstones) == 2
        store.remove([f"_forgotten/pending-{n}.json"])
        if survived:
            break
    assert n > 3


def test_files_that_are_merged_while_they_are_read(store: Store) -> None:
    for number, uri in enumerate(URIS):
        bury(store, f"run-{number}", [uri])
    done(store)

    class Slow(type(store)):  # type: ignore[misc]
        def read(self, path: str) -> bytes:
            if path.endswith("run-1.json"):
                merge(store, "merged")
            return bytes(super().read(path))

    forgotten = Forgotten.read(Slow(store.root))
    assert all(uri in forgotten for uri in URIS)


def test_a_lost_key_is_told(store: Store) -> None:
    bury(store, "run-1", URIS)
    store.remove(["_forgotten/key"])
    with pytest.raises(CommandError, match="restore it"):
        Forgotten.read(store)
