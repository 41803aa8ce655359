"""A job too small for a cluster is done in its own process, and writes the same tables."""

import json
import subprocess
import sys

import numpy as np
import pytest

from pipelines.cli.main import main
from tests.support.commands import begin
from tests.support.sounds import write_sound
from tests.support.tables import read_tables

WITHOUT_RAY = """
import sys
from pipelines.cli.main import main
code = main(sys.argv[1:])
assert "ray" not in sys.modules
sys.exit(code)
"""
UNLIKE = ("run_id", "processed_at", "attempted_at")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    for i in range(6):
        write_sound(
            folder / f"{i}.wav", seconds=0.4 + 1.7 * i, rate=(16_000, 44_100)[i % 2], seed=i
        )
    (folder / "broken.flac").write_bytes(b"fLaC")
    (folder / "empty.wav").write_bytes(b"")
    return folder


def rows(out):
    """All rows of all tables, in one order, without what differs between runs."""
    found = {
        name: [{k: v for k, v in row.items() if k not in UNLIKE} for row in content]
        for name, content in read_tables(str(out)).items()
    }
    keys = ("clip_id", "rank", "extractor", "segment", "bag", "tag")
    for content in found.values():
        content.sort(key=lambda row: [str(row.get(key)) for key in keys])
    return found


def test_tables_equal_those_of_a_job_on_ray(collection, tmp_path, tiny_model, tag):
    flags = ["--timeline", "--max-failed", "1"]
    assert tag(str(collection), "--out", str(tmp_path / "ray"), *flags).code == 0
    command = ["tag", str(collection), "--out", str(tmp_path / "here"), "--model", str(tiny_model)]
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY, *command, *flags], check=False)
    assert done.returncode == 0
    here, on_ray = rows(tmp_path / "here"), rows(tmp_path / "ray")
    assert {name: len(found) for name, found in here.items()} == {
        name: len(found) for name, found in on_ray.items()
    }
    for name, found in here.items():
        for one, other in zip(found, on_ray[name], strict=True):
            scores = ("score", "max_score", "peak_score", "mean_score")
            for column in (*scores, "attention", "embedding"):
                np.testing.assert_allclose(
                    one.pop(column, 0.0), other.pop(column, 0.0), rtol=0, atol=1e-6
                )
            assert one == other
    assert main(["status", str(tmp_path / "here"), "--verify"]) == 0


def test_bad_entries_beside_recordings_are_counted(collection, tmp_path, tiny_model, capsys):
    archive = tmp_path / "archive"
    archive.mkdir()
    write_sound(archive / "a.wav", seconds=1.0)
    (archive / "loop.wav").symlink_to("loop.wav")
    (archive / "._a.wav").write_bytes(b"\0\5\x16\7")
    (archive / "all").symlink_to(collection)
    command = ["tag", str(archive), "--model", str(tiny_model), "--out", str(tmp_path / "out")]
    counted = {"link": 1, "broken_link": 1, "sidecar": 1}
    assert main([*command, "--json", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == counted
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n_tagged"], told["skipped"]) == (1, counted)
    assert told["cpu_seconds"].keys() == told["seconds"].keys()
    assert min(told["cpu_seconds"][stage] for stage in ("patches", "model")) > 0
    (kept,) = (tmp_path / "out/_runs").iterdir()
    assert json.loads(kept.read_bytes())["skipped"] == counted
    assert main([*command, "--follow-links", "--max-failed", "1"]) == 0
    assert "skipped   1 AppleDouble, 1 broken links\n" in capsys.readouterr().out
    assert len(read_tables(str(tmp_path / "out"))["clips"]) == 1 + 6


def test_names_that_are_not_utf8_in_a_locale_that_is_not(tmp_path, tiny_model):
    write_sound(tmp_path / "ü.wav", seconds=1.0)
    odd = tmp_path / "caf\udce9.wav"
    (tmp_path / "ü.wav").rename(odd)
    write_sound(tmp_path / "ü.wav", seconds=1.0)
    command = ["tag", str(odd), str(tmp_path / "ü.wav"), "--model", str(tiny_model)]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with begin(*command, "--out", str(tmp_path / "out"), **ascii_only) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    clips = read_tables(str(tmp_path / "out"))["clips"]
    assert sorted(clip["uri"] for clip in clips) == [
        f"file+bytes://{tmp_path}/caf%E9.wav",
        f"file://{tmp_path}/ü.wav",
    ]
    (record,) = (tmp_path / "out/_runs").iterdir()
    assert json.loads(record.read_bytes())["config"]["inputs"] == [command[1], command[2]]
