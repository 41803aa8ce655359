"""Events of an output as files beside each other."""

import csv
import json
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.exporting.export import export, file_name
from pipelines.exporting.jobs import ExportJob
from pipelines.output.settings import open_output
from pipelines.storage.store import open_store
from tagger.errors import CommandError, OptionError
from tests.support.outputs import add


@pytest.fixture
def out(out_url, staged_table, settings):
    """Two recordings with an event each: Rain, 0.75, from 0 to 2.88 s."""
    store = open_store(out_url)
    open_output(store, settings)
    add(store, staged_table([("sea/a", None, "r"), ("b", None, "r"), ("c", "empty", "r")]))
    return out_url


def files(folder):
    return {str(path.relative_to(folder)): path for path in Path(folder).rglob("*.*")}


def test_a_file_for_each_recording_where_the_recording_lies(out, tmp_path):
    done = export(ExportJob(out=out, format="audacity", to=str(tmp_path / "labels")))
    assert (done.n_files, done.n_events) == (2, 2)
    written = files(tmp_path / "labels")
    assert set(written) == {"sea/a.txt", "b.txt"}
    assert {path.name for path in (tmp_path / "labels").iterdir()} == {"sea", "b.txt"}
    assert written["b.txt"].read_text() == "0.000000\t2.880000\tRain 0.75\n"


def test_one_csv_for_all(out, tmp_path):
    export(ExportJob(out=out, format="csv", to=str(tmp_path)))
    rows = list(csv.DictReader((tmp_path / "events.csv").read_text().splitlines()))
    assert [row["uri"] for row in rows] == ["file:///b", "file:///sea/a"]
    assert (rows[0]["tag"], rows[0]["start_s"], rows[0]["peak_score"]) == ("Rain", "0.0", "0.75")


def test_events_are_chosen(out, tmp_path):
    def n_events(**chosen):
        return export(ExportJob(out=out, format="json", to=str(tmp_path), **chosen)).n_events

    assert n_events(clip=("file:///b",)) == 1
    assert n_events(tag=("Rain", "Dog")) == 2
    assert n_events(tag=("it's",)) == 0
    assert (n_events(min_score=0.75), n_events(min_score=0.76)) == (2, 0)


def test_a_recording_that_is_not_there_is_told(out, tmp_path):
    with pytest.raises(CommandError, match="has no recording file:///c"):
        export(ExportJob(out=out, format="srt", to=str(tmp_path), clip=("file:///c",)))


def test_an_output_without_events_is_told(tmp_path, capsys):
    out = Path(__file__).parents[2] / "golden" / "version_1" / "output"
    assert main(["export", str(out), "--format", "vtt", "--to", str(tmp_path / "to")]) == 2
    assert "begun by an earlier version" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_the_command_tells_what_it_wrote(out, tmp_path, capsys):
    command = ["export", out, "--format", "raven", "--to", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"2 events in 2 files below {tmp_path}\n"
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"n_files": 2, "n_events": 2}


def test_scores_beyond_one_are_refused():
    with pytest.raises(OptionError, match="min_score must be from 0 to 1"):
        ExportJob(out="t", format="csv", to="l", min_score=1.5)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://b/x/a.wav", "a.wav"),
        ("s3://b/x/../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("s3://b/x//etc/./a", "%/etc/%2E/a"),
        ("s3://b/x/a.mka#track=2", "a.mka#track=2"),
        ("s3://b/x/..a/b..", "..a/b.."),
    ],
)
def test_no_name_leads_out_of_the_folder(uri, name):
    assert file_name(uri, "s3://b/x/") == name
