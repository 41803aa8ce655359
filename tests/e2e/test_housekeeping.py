"""Nights of tagging with housekeeping in between: what is forgotten stays away, all else stays."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main
from pipelines.output import rewriting
from pipelines.output.forgotten import bury
from pipelines.storage.store import open_store
from tests.support.outputs import assert_verified, counts, files_that_hold, tables


@pytest.fixture
def night(tmp_path, write_sound, tag_here):
    """``night(names)``: record some sounds and tag the collection; the run's summary."""
    collection, out = tmp_path / "collection", tmp_path / "out"

    def run(*names):
        for name in names:
            write_sound(collection / name, seed=ord(name[0]))
        return json.loads(tag_here(str(collection), "--out", str(out), "--json").out)

    collection.mkdir()
    return run


@pytest.mark.parametrize("settled_s", [-1.0, 3600.0])
def test_nights(night, tmp_path, monkeypatch, settled_s):
    monkeypatch.setattr(rewriting, "SETTLED_S", settled_s)
    out, secret = str(tmp_path / "out"), str(tmp_path / "collection" / "secret.wav")
    store = open_store(out)
    night("a.wav", "secret.wav")
    (clip_id,) = (row["clip_id"] for row in tables(store)["clips"] if "secret" in row["uri"])
    assert files_that_hold(store, clip_id, secret)
    assert main(["forget", out, secret]) == Exit.DONE
    assert files_that_hold(store, clip_id, secret) == []
    found = night("b.wav")
    assert (found["n_listed"], found["n_done_before"], found["n_forgotten"]) == (3, 1, 1)
    assert (found["n_tagged"], len(tables(store)["clips"])) == (1, 2)
    assert main(["compact", out]) == Exit.DONE
    found = night("c.wav")
    assert (found["n_done_before"], found["n_forgotten"], found["n_tagged"]) == (2, 1, 1)
    assert main(["forget", out, secret, "--again"]) == Exit.DONE
    found = night()
    assert (found["n_forgotten"], found["n_tagged"]) == (0, 1)
    assert set(counts(store)["clips"].values()) == {1}
    assert len(counts(store)["clips"]) == 4
    assert_verified(store)


def test_a_forget_that_was_interrupted_is_completed_by_the_next_night(night, tmp_path):
    store = open_store(str(tmp_path / "out"))
    uri = f"file://{tmp_path}/collection/secret.wav"
    night("a.wav", "secret.wav")
    bury(store, "interrupted", [uri])
    found = night("b.wav")
    assert (found["n_tagged"], found["n_forgotten"]) == (1, 1)
    assert files_that_hold(store, uri) == []
    assert len(tables(store)["clips"]) == 2
    assert_verified(store)


def test_tables_removed_by_hand(night, tmp_path, tag_here):
    """The next night says what is missing and how to mend it; so mended, all is tagged anew."""
    night("a.wav", "b.wav")
    out = tmp_path / "out"
    (model,) = (out / "clips").iterdir()
    shutil.rmtree(model)
    for flags in ((), ("--dry-run",)):
        done = tag_here(str(tmp_path / "collection"), "--out", str(out), *flags)
        assert done.code == Exit.COMMAND
        assert done.err.count("\n") == 1
        name = model.name.removeprefix("model=")
        assert f"clips/{model.name}/run_date=" in done.err
        assert f"forget {out} --model {name}" in done.err
    assert main(["forget", str(out), "--model", name]) == Exit.DONE
    assert night("c.wav")["n_tagged"] == 3
    assert len(counts(open_store(str(out)))["clips"]) == 3
    assert_verified(open_store(str(out)))
    assert Path(out, "views.sql").exists()
