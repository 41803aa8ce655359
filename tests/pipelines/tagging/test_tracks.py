"""Audio tracks chosen by ``--track``, from the command to tables; their names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.inputs.listing import gather
from pipelines.output.settings import Settings
from pipelines.runtime.limits import Limits
from pipelines.storage.models import read_tagging_model
from pipelines.storage.uris import (
    canonical,
    clip_id,
    local_path,
    recording_uri,
    track_id,
    track_uri,
)
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import ClipTagger, Event, Preprocessor, pack, unpack
from tagger import levels, schema
from tagger.audio import Signal
from tagger.errors import ClipError, Reason
from tagger.tagging import Tagger
from tests.support.containers import HIGH, LOW, NONE, container
from tests.support.sounds import write_sound


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A film with three tracks of which the last is silent, and a plain recording."""
    folder = tmp_path / "audio"
    write_sound(folder / "plain.wav")
    (folder / "film.mka").write_bytes(container([LOW, HIGH, NONE], default=2))
    return folder


def _rows(out: Path, table: str) -> list[dict[str, Any]]:
    found = [pq.read_table(path).to_pylist() for path in sorted((out / table).rglob("*.parquet"))]
    return [row for rows in found for row in rows]


def _uris(out: Path, table: str = "clips") -> list[str]:
    return sorted(row["uri"] for row in _rows(out, table))


@pytest.fixture
def tag(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """``tag(inputs, *flags)`` -> exit code; the output is ``tmp_path / "out"``."""

    def _tag(inputs: Sequence[Path], *flags: str) -> int:
        command = [*map(str, inputs), "--out", str(tmp_path / "out"), "--model", str(tiny_model)]
        return main(["tag", *command, "--max-failed", "1", *flags])

    return _tag


def test_without_a_choice_each_recording_is_one_clip(audio: Path, tag: Any, tmp_path: Path) -> None:
    assert tag([audio]) == 0
    assert _uris(tmp_path / "out") == [f"file://{audio}/film.mka", f"file://{audio}/plain.wav"]


def test_each_track_is_a_clip_of_its_own(
    audio: Path, tag: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default one under the name of the recording; nothing is done twice."""
    out, film = tmp_path / "out", f"file://{audio}/film.mka"
    assert tag([audio], "--track", "all") == 0
    assert _uris(out) == [film, f"{film}#track=1", f"file://{audio}/plain.wav"]
    assert _uris(out, "tags") == sorted(_uris(out) * 3)
    (failure,) = _rows(out, "failures")
    assert (failure["uri"], failure["reason"], failure["final"]) == (
        f"{film}#track=3",
        "silent",
        True,
    )
    assert failure["detail"] == "audio track 3 of 3 is silent, but track 1 is not"
    by_uri = {row["uri"]: row for row in _rows(out, "clips")}
    assert len({row["clip_id"] for row in by_uri.values()}) == 3
    assert by_uri[film]["version"] == by_uri[f"{film}#track=1"]["version"]
    assert by_uri[film]["clip_id"] == clip_id(film, by_uri[film]["version"])
    capsys.readouterr()
    before = sorted(out.rglob("*.parquet"))
    assert tag([audio], "--track", "all") == 0
    assert sorted(out.rglob("*.parquet")) == before
    assert main(["status", str(out), "--verify"]) == 0
    capsys.readouterr()
    assert tag([audio], "--track", "all", "--dry-run") == 0
    assert "film.mka" not in capsys.readouterr().out  # nothing is taken for gone


def test_a_track_by_its_number(audio: Path, tag: Any, tmp_path: Path) -> None:
    assert tag([audio], "--track", "3") == 0
    details = {
        row["uri"][len(f"file://{audio}/") :]: row for row in _rows(tmp_path / "out", "failures")
    }
    assert details["plain.wav"]["reason"] == "unsupported" and details["plain.wav"]["final"]
    assert details["plain.wav"]["detail"] == "no audio track 3: the recording has 1 audio track"
    assert "is silent, but track 1 is not" in details["film.mka"]["detail"]


def test_the_choice_is_one_of_the_output(
    audio: Path, tag: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tag([audio]) == 0
    assert tag([audio], "--track", "all") == 2
    assert "track" in capsys.readouterr().err
    assert tag([audio], "--track", "default") == 0


@pytest.mark.parametrize("track", ["0", "-1", "first", "", "02", "1.5"])
def test_a_choice_that_is_none(
    track: str, audio: Path, tag: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tag([audio], f"--track={track}") == 2
    assert "--track must be default, all, or a number from 1" in capsys.readouterr().err


def test_a_recording_is_forgotten_with_its_tracks(audio: Path, tag: Any, tmp_path: Path) -> None:
    """And no file whose name ends like that of a track."""
    out, film = tmp_path / "out", f"file://{audio}/film.mka"
    real = audio / "film.mka#track=1"
    write_sound(audio / "other.wav", seed=3).rename(real)
    assert tag([audio, real], "--track", "all") == 0
    names = _uris(out)
    assert len(names) == len(set(names)) == 4
    assert f"file+bytes://{audio}/film.mka%23track%3D1" in names
    assert _by_views(out, "SELECT count(*) FROM current_clips") == 4
    assert main(["forget", str(out), film]) == 0
    assert _uris(out) == sorted({*names} - {film, f"{film}#track=1"})
    assert _rows(out, "failures") == []
    assert main(["status", str(out), "--verify"]) == 0
    assert tag([audio, real], "--track", "all") == 0
    assert _uris(out) == sorted({*names} - {film, f"{film}#track=1"})
    assert main(["forget", str(out), str(real)]) == 0
    assert _uris(out) == [f"file://{audio}/plain.wav"]


def test_one_track_can_be_forgotten(audio: Path, tag: Any, tmp_path: Path) -> None:
    out, film = tmp_path / "out", f"file://{audio}/film.mka"
    assert tag([audio], "--track", "all") == 0
    assert main(["forget", str(out), f"{film}#track=1"]) == 0
    assert _uris(out) == [film, f"file://{audio}/plain.wav"]


def _by_views(out: Path, query: str) -> int:
    with duckdb.connect() as connection:
        connection.execute((out / "views.sql").read_text())
        (row,) = connection.execute(query).fetchall()
        return int(row[0])


def test_names_of_tracks_are_told_from_names_of_files() -> None:
    uri, version = "s3://bucket/film.mka", "etag"
    name = track_uri(uri, 2)
    assert name == "s3://bucket/film.mka#track=2"
    assert recording_uri(track_id(uri, version, 2), name, version) == uri
    assert recording_uri(clip_id(name, version), name, version) == name
    assert recording_uri(clip_id(uri, version), uri, version) == uri
    path = "/archive/film.mka#track=2"
    assert canonical(path) == "file+bytes:///archive/film.mka%23track%3D2"
    assert local_path(canonical(path)) == path
    assert canonical("/archive/film #track=.mka") == "file:///archive/film #track=.mka"


def _listing(n: int) -> pa.Table:
    rows = [
        {"clip_id": f"{i}", "uri": f"file:///{i}", "version": "v", "size_bytes": 1, "extra": None}
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows, schema.LISTING)


@pytest.fixture
def clip_tagger(tiny_model: Path, settings: Settings) -> ClipTagger:
    model = read_tagging_model(str(tiny_model), 1.0)
    return ClipTagger(Tagger(model), RowSettings(settings, "m", "r"))


SIGNAL = Signal(2.0, 16_000, 1, 0.0, 2.0, 1.0, None)
PATCHES = np.zeros((2, 96, 64), np.float32)


@pytest.mark.parametrize("travels", [False, True])
def test_a_failure_that_may_pass_is_one_of_the_whole_recording(
    clip_tagger: ClipTagger, travels: bool
) -> None:
    """It leaves none of its tracks half done or done, so that the next run takes up all of it."""
    timeout = ClipError(Reason.TIMEOUT, "too slow")
    silent = ClipError(Reason.SILENT, "no sound")
    events: list[Event] = [
        (0, SIGNAL), (0, PATCHES), (0, 2), (0, SIGNAL), (0, PATCHES), (0, 3), (0, silent),
        (1, SIGNAL), (1, PATCHES), (1, 2), (1, silent), (1, 3), (1, SIGNAL), (1, PATCHES),
        (1, 0), (1, timeout),
        (2, silent), (2, 2), (2, SIGNAL), (2, PATCHES), (2, SIGNAL),
    ]  # fmt: skip
    if travels:
        events = list(unpack(*pack(events, "float32"), "float32"))
    table, tally = clip_tagger(_listing(4), events)
    assert list(zip(table["uri"].to_pylist(), table["reason"].to_pylist(), strict=True)) == [
        ("file:///0", None),
        ("file:///0#track=2", None),
        ("file:///0#track=3", "silent"),
        ("file:///1", "timeout"),
        ("file:///2", "silent"),
        ("file:///2#track=2", None),
    ]
    assert table["clip_id"].to_pylist()[1] == track_id("file:///0", "v", 2)
    assert (tally.n_recordings, tally.n_tagged, tally.n_failed) == (3, 3, 3)
    assert tally.size_bytes == 3


def test_a_batch_is_cut_between_recordings_not_between_tracks() -> None:
    events: list[Event] = [
        (0, SIGNAL),
        (0, PATCHES),
        (1, SIGNAL),
        (1, PATCHES),
        (1, 2),
        (1, SIGNAL),
    ]
    events.append((1, PATCHES))
    found = list(unpack(*pack(events, "float32", most_bytes=2 * PATCHES.nbytes), "float32"))
    assert {row for row, _ in found} == {0}


def test_what_shows_when_the_patches_are_made_is_noted(tmp_path: Path) -> None:
    rate = 250_000
    path = tmp_path / "bat.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 45_000 * np.arange(rate) / rate), rate)
    events = [what for _, what in Preprocessor(Limits())(gather([str(path)]))]
    first, *_, last = events
    assert isinstance(first, Signal) and isinstance(last, Signal)
    assert (first.notes, last.notes) == (None, levels.NOTHING_BELOW_8_KHZ)
