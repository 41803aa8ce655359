"""The command line: flags, messages and exit codes; what starts no Ray."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fsspec import get_filesystem_class

from pipelines.cli.main import SPIN_COUNT, Exit, main, run
from pipelines.cli.verbs import VERBS
from pipelines.storage.store import Store

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sound(tmp_path: Path) -> str:
    path = tmp_path / "in" / "noise.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Exit code 2 and one line; returns the line."""
    assert main(["tag", *arguments]) == Exit.COMMAND
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    return said.err


HEAVY = "torch ray pandas av soundfile librosa matplotlib"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["tag", "--help"], ["fit", "-h"]])
def test_help_needs_nothing_that_is_slow_to_load(words: list[str]) -> None:
    script = (
        "import sys; from pipelines.cli.main import main\n"
        f"code = main({words})\n"
        f"sys.exit(code or ' '.join({{*{HEAVY.split()}}} & {{*sys.modules}}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("archive-tagger 0." if "--version" in words else "usage: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], f"a command comes first: {', '.join(VERBS)}; see "),
        (["--frobnicate"], f"a command comes first: {', '.join(VERBS)}; see "),
        (["fly"], f"no command 'fly'; there are {', '.join(VERBS)}"),
        (["statsu", "x"], "no command 'statsu'; did you mean status?"),
        (["tag"], "INPUT is required"),
        (["tag", "in"], "--out is required"),
        (["tag", "in", "--out", "o", "--top-k", "many"], "--top-k takes a whole number"),
        (["tag", "in", "--out", "o", "--top-k", "0"], "--top-k must be greater than 0"),
        (["tag", "in", "--out", "o", "--topk", "3"], "no option --topk; did you mean --top-k?"),
        (["tag", "in", "--dry-run", "--print"], "--print does not go with --dry-run"),
        (["tag", "in", "--out", "o", "--clip-timeout", "-1"], "--clip-timeout must be greater"),
        (["reproduce", "d", "--work", "w", "--rows", "bundled"], "--rows has no row bundled: the "),
        (["weights", "--out", "s3://b/m"], "--out must be a local folder"),
    ],
)
def test_a_command_that_cannot_be_carried_out_ends_with_two_and_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == Exit.COMMAND
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {said}")
    assert told.err.count("\n") == 1


def test_both_ways_to_call_the_program_are_one() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    module, _, name = project["project"]["scripts"]["archive-tagger"].partition(":")
    assert getattr(importlib.import_module(module), name) is run
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "tagger.__version__"


def test_mistakes_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    sound: str,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = str(tmp_path / "out")
    model = ["--model", str(tiny_model)]
    assert "no such file" in refused(capsys, f"{sound}.gone", "--out", out, *model)
    assert "card.json" in refused(capsys, sound, "--out", out, "--model", str(tmp_path))
    assert "is a file" in refused(capsys, sound, "--out", sound, *model)
    assert "is a file" in refused(capsys, sound, "--out", f"{sound}/x", *model)
    assert "empty" in refused(capsys, sound, "--out", "", *model)
    assert "names no folder" in refused(capsys, sound, "--out", "~no such user/x", *model)
    assert "gopher" in refused(capsys, sound, "--out", "gopher://x/y", *model)
    secret = refused(capsys, "s3://id:hush@bucket/x", "--out", out, *model)
    assert "credentials" in secret
    assert "hush" not in secret
    assert not Path(out).exists()


@pytest.mark.s3
@pytest.mark.parametrize("how", ["--print", "--dry-run", "--verbose"])
def test_a_model_whose_store_refuses_the_credentials(
    s3: Any,
    how: str,
    sound: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def code() -> int:
        get_filesystem_class("s3").clear_instance_cache()  # it would keep the credentials
        return main(["tag", sound, "--out", "nowhere", "--model", f"s3://{s3.bucket}/model", how])

    assert code() == Exit.COMMAND
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert code() == Exit.ACCESS_DENIED
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert code() == Exit.ACCESS_DENIED
    assert capsys.readouterr().err.count("check AWS_ACCESS_KEY_ID") == 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "ray://127.0.0.1:1"])
def test_no_ray_at_the_address_is_told_in_one_line(
    address: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    sound: str,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    out = tmp_path / "out"
    said = refused(capsys, sound, "--out", str(out), "--model", str(tiny_model))
    assert said.startswith(f"error: no Ray answers at RAY_ADDRESS={address}")
    (record,) = (out / "_runs").iterdir()
    assert json.loads(record.read_text())["state"] == "failed"


def test_an_output_that_cannot_be_written_is_told_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sound: str, tiny_model: Path
) -> None:
    out = Path("/proc/out")  # nobody may create it, not even root
    said = refused(capsys, sound, "--out", str(out), "--model", str(tiny_model))
    assert "/proc/out" in said


def test_no_audio_has_an_exit_code_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.md").write_text("no audio here")
    for how in (["--out", str(tmp_path / "out")], ["--print"]):
        code = main(["tag", str(tmp_path / "in"), *how, "--model", str(tiny_model)])
        assert code == Exit.NO_AUDIO
        said = capsys.readouterr().err
        assert "no audio in" in said
        assert "passed over: 1 without a suffix of audio" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_print_tags_straight_to_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sound: str, tiny_model: Path
) -> None:
    Path(sound).with_name("bad\nname.wav").write_bytes(b"")
    command = ["tag", str(Path(sound).parent), "--print", "--model", str(tiny_model)]
    assert main(command) == Exit.OVER_BUDGET, "half of the clips"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("bad\\nname.wav")
    assert lines[1].startswith("  failed: empty (")
    assert lines[2].endswith("noise.wav")
    assert sorted(word for word in lines[3].split() if word in ("Rain", "Dog")) == ["Dog", "Rain"]
    assert main([*command, "--json", "--limit", "1", "--max-failed", "1"]) == Exit.DONE
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["reason"] == "empty"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has a defect, whose message repeats a secret."""

    def pending(*arguments: Any) -> None:
        raise KeyError("https://host/a.wav?X-Amz-Signature=planted")

    monkeypatch.setattr("pipelines.tagging.run.pending", pending)


@pytest.mark.usefixtures("defect")
def test_a_defect_is_one_line_without_secrets_and_its_traceback_is_in_the_record(
    capsys: pytest.CaptureFixture[str], sound: str, tiny_model: Path, local_output: Store
) -> None:
    command = ["tag", sound, "--out", local_output.root, "--model", str(tiny_model)]
    assert main(command) == Exit.DEFECT
    brief = capsys.readouterr().err
    assert brief.startswith("error: a defect of this program: KeyError")
    assert brief.count("\n") == 1
    assert main([*command, "--verbose"]) == Exit.DEFECT
    verbose = capsys.readouterr().err
    assert verbose.startswith("Traceback")
    assert verbose.splitlines()[-1].startswith("error: a defect of this program: KeyError")
    record = json.loads(local_output.read(local_output.list("_runs")[0]))
    assert record["state"] == "failed"
    assert "Traceback" in record["error"]
    for said in (brief, verbose, record["error"]):
        assert "https://host/a.wav?" in said
        assert "planted" not in said


@pytest.fixture
def local_output(tmp_path: Path, sound: str, tiny_model: Path) -> Store:
    """An output that was opened with the default settings."""
    from pipelines.output.settings import open_output
    from pipelines.storage.store import open_store
    from pipelines.tagging.job import TagJob
    from pipelines.tagging.staged_rows import output_settings
    from tagger.card import read_model

    store = open_store(str(tmp_path / "out"))
    open_output(store, output_settings(TagJob(inputs=(), out=store.root), read_model().card))
    return store


@pytest.mark.parametrize("asked", [{}, {"GOMP_SPINCOUNT": "7"}], ids=["left out", "asked for"])
def test_threads_that_wait_sleep_soon_unless_somebody_asks_otherwise(asked):
    script = """
import os, sys
from pipelines.cli import main
main.main = lambda: int(os.environ["GOMP_SPINCOUNT"]) % 256
main.run()
"""
    known = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", script], env=known | asked, check=False)
    assert done.returncode == int(asked.get("GOMP_SPINCOUNT", SPIN_COUNT)) % 256
