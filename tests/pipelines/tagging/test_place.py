"""A person is told where an output lies badly."""

import logging
from pathlib import Path

import pytest

from pipelines.storage.store import open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.place import warn_of_place


def warnings(inputs: list[str], out: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    caplog.set_level(logging.WARNING)
    warn_of_place(TagJob(inputs=tuple(inputs), out=out), open_store(out))
    return [record.message for record in caplog.records]


def test_an_output_inside_an_input(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = tmp_path / "archive [1]"
    (archive / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(archive)
    (archive / "list.csv").write_text("uri\n")
    inside = f"{archive}/out"
    for text in (str(archive), archive.as_uri(), f"{tmp_path}/link", f"{archive}/../archive [1]/"):
        (told,) = warnings(["s3://bucket/a", text], inside, caplog)
        assert f"--out {inside} lies inside INPUT {text}" in told
    assert warnings([str(archive)], str(archive), caplog)[0].startswith("--out")
    for text in (f"{archive}/ou", f"{archive}/list.csv", f"{archive}/*.wav"):
        assert warnings([text], inside, caplog) == []
    assert warnings([inside], str(tmp_path / "other"), caplog) == []


@pytest.mark.s3
def test_an_output_inside_an_input_on_s3(s3, caplog: pytest.LogCaptureFixture) -> None:
    prefix = s3.new_prefix()
    assert len(warnings([f"{prefix}/"], f"{prefix}/out", caplog)) == 1
    assert warnings([f"{prefix}/ou"], f"{prefix}/out", caplog) == []


def test_an_output_with_other_files(out_url: str, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store(out_url)
    assert warnings([], out_url, caplog) == []
    for path in ("_log/m/0.json", "clips/model=m/0.parquet", "tags/x", "views.sql", "_output.json"):
        store.write(path, b"x")
    assert warnings([], out_url, caplog) == []
    store.write("notes.txt", b"x")
    (told,) = warnings([], out_url, caplog)
    assert told.startswith(f"--out {out_url} holds what is not of this program: 'notes.txt'; ")
    store.write("a.wav", b"x")
    store.write("photos/1.jpg", b"x")
    (told,) = warnings([], out_url, caplog)
    assert "'a.wav' and 2 more; " in told
