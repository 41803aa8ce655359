"""``forget`` as a command: what it takes, whom it waits for, what it tells."""

import json
from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main
from pipelines.housekeeping.forget import ForgetReport, forget
from pipelines.housekeeping.jobs import ForgetJob
from pipelines.output.forgotten import bury
from pipelines.output.lock import Lock
from pipelines.output.settings import Settings, open_output
from pipelines.output.status import status
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError, OptionError
from tests.support.outputs import (
    MODEL,
    Build,
    add,
    assert_verified,
    counts,
    files_that_hold,
)

ROWS = [("keep", None, "r"), ("secret-x", None, "r"), ("secret-y", "timeout", "r")]


@pytest.fixture
def store(out_url: str, settings: Settings, staged_table: Build) -> Store:
    """An output with two recordings to forget and one to keep, by two models."""
    opened = open_store(out_url)
    open_output(opened, settings)
    for model_id in (MODEL, "m-2"):
        add(opened, staged_table(ROWS), model_id=model_id)
    return opened


def test_recordings_by_uri_path_and_manifest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri,why\n/secret-y,asked\ns3://never/seen.wav,asked\n")
    monkeypatch.chdir("/")
    job = ForgetJob(out=store.root, uris=("secret-x", "file:///secret-x"), manifest=str(manifest))
    assert forget(job) == ForgetReport(n_recordings=3, n_erased=4)
    assert files_that_hold(store, "secret", "never") == []
    assert counts(store)["clips"] == {"keep": 2}
    assert_verified(store)
    assert store.list("_lock") == []


def test_again(store: Store) -> None:
    uris = ("file:///secret-x", "file:///secret-y")
    forget(ForgetJob(out=store.root, uris=uris))
    again = ForgetJob(out=store.root, uris=("/secret-x", "/keep"), again=True)
    assert forget(again) == ForgetReport(n_recordings=2, again=True, n_lifted=1)
    assert counts(store)["clips"] == {"keep": 2}


def test_a_model(store: Store) -> None:
    assert forget(ForgetJob(out=store.root, model="m-2")) == ForgetReport(retired="m-2")
    assert counts(store)["clips"] == {"keep": 1, "secret-x": 1}
    assert [model.model_id for model in status(store).models] == [MODEL]
    assert store.list("_lock") == []
    with pytest.raises(CommandError, match="no tables of a model m-3; it has: m-1, m-2"):
        forget(ForgetJob(out=store.root, model="m-3"))


@pytest.mark.parametrize("asked", [{"uris": ("/secret-x",)}, {"model": MODEL}])
def test_a_job_at_work_is_not_disturbed(store: Store, asked: dict) -> None:  # type: ignore[type-arg]
    before = store.list("")
    with Lock(store, MODEL, "at-work", beat_s=0.2):
        with pytest.raises(CommandError, match="at-work"):
            forget(ForgetJob(out=store.root, **asked))
        assert store.list("_forgotten") == []
    assert store.list("") == before


def test_no_output(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="holds no output"):
        forget(ForgetJob(out=str(tmp_path), uris=("a",)))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({}, "uris"),
        ({"again": True}, "uris"),
        ({"model": "m", "uris": ("a",)}, "model"),
        ({"model": "m", "manifest": "a.txt"}, "model"),
        ({"model": "m", "again": True}, "model"),
        ({"uris": ("a",), "store_patience_s": 0.0}, "store_patience_s"),
    ],
)
def test_what_does_not_go_together(options: dict, option: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(OptionError) as told:
        ForgetJob(out="out", **options)
    assert told.value.option == option


def test_credentials_are_refused_and_not_repeated() -> None:
    with pytest.raises(CommandError) as told:
        ForgetJob(out="out", uris=("https://user:secret@host/a.wav",))
    assert "secret" not in str(told.value)


def test_a_manifest_must_be_one(store: Store) -> None:
    with pytest.raises(OptionError, match="manifest"):
        forget(ForgetJob(out=store.root, manifest="list.doc"))


def test_the_command_line(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", store.root, "/secret-x"]) == Exit.DONE
    assert capsys.readouterr().out == "forgot 1 recordings: erased 2 clips and failed attempts\n"
    assert main(["forget", store.root, "/secret-x", "--again"]) == Exit.DONE
    assert capsys.readouterr().out == "1 recordings may be tagged again\n"
    assert main(["forget", store.root, "--model", MODEL, "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["retired"] == MODEL
    assert main(["forget", store.root, "--model", "m-2"]) == Exit.DONE
    assert capsys.readouterr().out == "retired model m-2\n"
    assert main(["forget", store.root]) == Exit.COMMAND
    assert "URI" in capsys.readouterr().err
    bury(store, "interrupted", ["file:///keep"])
    assert main(["status", store.root]) == Exit.DONE
    assert "1 recordings are not yet erased" in capsys.readouterr().out
