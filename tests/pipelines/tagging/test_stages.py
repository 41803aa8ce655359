"""What workers do to a batch of clips, called directly."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from pipelines.inputs import listing, reading
from pipelines.output.tally import Tally
from pipelines.runtime.limits import Limits
from pipelines.tagging import stages
from pipelines.tagging.job import TagJob
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import ClipTagger, Preprocessor, pack, unpack
from tagger import schema
from tagger.audio import Signal
from tagger.errors import ClipError, Reason, Stage
from tagger.tagging import Tagger
from tests.support import compressed
from tests.support.processes import below, decoders

N_EXTRACTORS = 2


@pytest.fixture(scope="module")
def tagger(tiny_model: Path) -> Tagger:
    return Tagger.load(tiny_model)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Three sounds of 3, 0.2 and 8 seconds between clips that fail."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    (folder / "0.wav").write_bytes(b"")
    for name, seconds in (("1", 3.0), ("3", 0.2), ("4", 8.0)):
        samples = 0.1 * rng.standard_normal(round(22_050 * seconds))
        soundfile.write(folder / f"{name}.wav", samples, 22_050)
    (folder / "2.wav").write_bytes(b"no sound at all")
    soundfile.write(folder / "5.wav", np.zeros(16_000), 16_000)
    return listing.gather([str(folder)])


@pytest.fixture(scope="module")
def events(clips: pa.Table) -> list[stages.Event]:
    return list(Preprocessor(Limits())(clips))


def test_clips_that_come_as_files_give_the_same(
    clips: pa.Table, events: list[stages.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "IN_MEMORY_BYTES", 0)
    found = list(Preprocessor(Limits())(clips))
    for (row, what), (wanted_row, wanted) in zip(found, events, strict=True):
        assert row == wanted_row
        if isinstance(wanted, np.ndarray):
            np.testing.assert_array_equal(what, wanted)
        else:
            assert str(what) == str(wanted)


def test_clips_are_decoded_by_a_process_that_can_do_nothing_else(clips: pa.Table) -> None:
    preprocess = Preprocessor(Limits())
    events = preprocess(clips)
    next(events)
    processes = decoders(below(os.getpid()))
    assert processes
    for process in processes:
        kernel = Path(f"/proc/{process.pid}")
        assert "NoNewPrivs:\t1\nSeccomp:\t2\n" in (kernel / "status").read_text()
        assert "HOME=" not in (kernel / "environ").read_text()
    preprocess.close()


def sound(path: Path, data: bytes) -> pa.Table:
    path.write_bytes(data)
    return listing.gather([str(path)])


def test_a_day_in_few_bytes_is_refused(tmp_path: Path) -> None:
    clips = sound(tmp_path / "day.flac", compressed.flac(24.0))
    assert clips["size_bytes"][0].as_py() < 300_000
    ((_, error),) = Preprocessor(Limits())(clips)
    assert isinstance(error, ClipError)
    assert error.reason is Reason.TOO_LONG
    assert error.detail == "more than 6.24284 hours of audio in 156,071 bytes"


@pytest.mark.parametrize(
    ("name", "bytes_per_hour"),
    [  # a dead line between two clicks, as these encoders write it
        ("WavPack, 8 kHz", 25_565),
        ("WavPack, 16 kHz", 49_865),
        ("FLAC, 8 kHz, libsndfile", 91_183),
        ("ALAC, 8 kHz", 162_822),
        ("AAC, 8 kHz", 228_551),
        ("Vorbis, 8 kHz", 240_202),
        ("Speex with DTX", 500_296),
        ("Opus at 6 kbit/s", 930_237),
        ("Codec2 at 700 bit/s", 315_000),  # any sound
    ],
)
def test_no_recording_is_refused_for_its_size(name: str, bytes_per_hour: int) -> None:
    assert Limits().hours_of(24 * bytes_per_hour) == 24.0
    assert Limits().hours_of(500) == 1.0


def test_hours_of_silence_are_embedded_once(
    tmp_path: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = sound(tmp_path / "silence.flac", compressed.flac(1.5, 4096))
    found = list(Preprocessor(Limits())(clips))
    patches = np.concatenate([what for _, what in found if isinstance(what, np.ndarray)])
    assert len(patches) == 5625
    wanted = tagger.embed(patches[-40:])
    n_embedded = 0
    embed = tagger.embed

    def counting(patches: Any) -> Any:
        nonlocal n_embedded
        n_embedded += len(patches)
        return embed(patches)

    monkeypatch.setattr(tagger, "embed", counting)
    rows, tally = ClipTagger(tagger, settings())(clips, found)
    assert n_embedded < 200
    assert tally.n_segments == 5625
    values = np.array(rows["embedding_values"].to_pylist()[0]).reshape(N_EXTRACTORS, -1, 128)
    np.testing.assert_allclose(values[:, -40:], wanted, atol=1e-5)


def settings(**changes: Any) -> RowSettings:
    return RowSettings.of(TagJob(inputs=(), out="", **changes), "tiny-1", "run-1")


def plain(rows: pa.Table) -> list[dict[str, Any]]:
    return rows.drop_columns(["processed_at"]).to_pylist()


def test_events_come_clip_by_clip(events: list[stages.Event]) -> None:
    rows = [row for row, _ in events]
    assert rows == sorted(rows)
    kinds = {row: [type(what) for r, what in events if r == row] for row in range(6)}
    assert kinds[0] == kinds[2] == kinds[5] == [ClipError]
    assert all(kinds[row][0] is Signal for row in (1, 3, 4))
    n_patches = {
        row: sum(len(w) for r, w in events if r == row and isinstance(w, np.ndarray))
        for row in (1, 3, 4)
    }
    assert n_patches == {1: 3, 3: 1, 4: 8}


def test_a_batch_becomes_one_row_per_clip_in_order(
    clips: pa.Table, events: list[stages.Event], tagger: Tagger
) -> None:
    rows, tally = ClipTagger(tagger, settings())(clips, events)
    assert rows.schema == schema.staged("float32")
    assert rows["clip_id"].to_pylist() == clips["clip_id"].to_pylist()
    reasons = ["empty", None, "unsupported", None, None, "silent"]
    assert rows["reason"].to_pylist() == reasons
    assert rows["n_segments"].to_pylist() == [None, 3, None, 1, 8, None]
    assert tally.failures == {"empty": 1, "unsupported": 1, "silent": 1}
    assert (tally.n_tagged, tally.n_failed, tally.n_segments) == (3, 3, 12)
    assert tally.precisions == {"float32": 3}
    assert tally.audio_s == pytest.approx(11.2)
    assert tally.size_bytes == sum(clips["size_bytes"].to_pylist())
    assert set(tally.seconds) == {"patches", "model", "rows"}


@pytest.mark.parametrize("pool", [1, 5, 1000])
def test_pooling_patches_of_several_clips_changes_nothing(
    pool: int,
    clips: pa.Table,
    events: list[stages.Event],
    tagger: Tagger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = []
    for row in range(len(clips)):
        own = [(0, what) for r, what in events if r == row]
        expected += plain(ClipTagger(tagger, settings())(clips.slice(row, 1), own)[0])
    monkeypatch.setattr(tagger, "batch", pool)
    together = plain(ClipTagger(tagger, settings())(clips, events)[0])
    assert together == [near(row) for row in expected]


def near(value: Any) -> Any:
    """What equals the value, and all within it, but for the rounding of sums."""
    if isinstance(value, dict):
        return {key: near(item) for key, item in value.items()}
    if isinstance(value, list):
        return [near(item) for item in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def test_packed_and_unpacked_events_give_the_same_rows(
    clips: pa.Table, events: list[stages.Event], tagger: Tagger
) -> None:
    direct, _ = ClipTagger(tagger, settings(timeline=True))(clips, events)
    replayed = unpack(*pack(events, "float32"), "float32")
    packed, _ = ClipTagger(tagger, settings(timeline=True))(clips, replayed)
    assert plain(packed) == plain(direct)


def test_a_batch_ends_when_it_holds_too_many_patches(clips: pa.Table, tagger: Tagger) -> None:
    tag = ClipTagger(tagger, settings())
    for most, n_rows in {1: 2, 3: 2, 4: 4, 5: 5, 12: 5, 13: 6}.items():
        preprocess = Preprocessor(Limits(), most_patches=most)
        rows, tally = tag(clips, preprocess(clips))
        assert rows["clip_id"].to_pylist() == clips["clip_id"].to_pylist()[:n_rows]
        assert tally.n_tagged + tally.n_failed == n_rows
        assert tally.size_bytes == sum(clips["size_bytes"].to_pylist()[:n_rows])


def test_packing_keeps_errors_signals_and_the_order() -> None:
    signal = Signal(1.5, 44_100, 2, 0.25, 1.25, 0.5, "cut off")
    patches = np.random.default_rng(0).standard_normal((3, 96, 64)).astype(np.float32)
    before: list[stages.Event] = [
        (0, ClipError(Reason.VANISHED, "no such file", Stage.READ)),
        (1, signal),
        (1, patches[:1]),
        (2, signal),
        (1, patches[1:]),
    ]
    after = list(unpack(*pack(before, "float16"), "float16"))
    assert [row for row, _ in after] == [0, 1, 1, 2, 1]
    error = after[0][1]
    assert isinstance(error, ClipError)
    assert error.args == before[0][1].args  # type: ignore[union-attr]
    assert after[1][1] == after[3][1] == signal
    np.testing.assert_allclose(np.concatenate([after[2][1], after[4][1]]), patches, rtol=1e-3)


@pytest.mark.parametrize(
    ("n_fit", "rows"), [(12, [0, 1, 2, 3, 4, 5]), (11, [0, 1, 2, 3]), (2, [0])]
)
def test_a_record_ends_before_the_clip_that_does_not_fit(
    n_fit: int, rows: list[int], clips: pa.Table, events: list[stages.Event], tagger: Tagger
) -> None:
    most_bytes = n_fit * 96 * 64 * 2
    order, data = pack(events, "float16", most_bytes)
    assert data.size <= most_bytes
    assert [*dict.fromkeys(row for row, _ in unpack(order, data, "float16"))] == rows
    table, tally = ClipTagger(tagger, settings())(clips, unpack(order, data, "float16"))
    assert table["clip_id"].to_pylist() == clips["clip_id"].to_pylist()[: len(rows)]
    assert tally.n_segments == sum(n for n in table["n_segments"].to_pylist() if n)


def test_a_record_may_hold_nothing(
    clips: pa.Table, events: list[stages.Event], tagger: Tagger
) -> None:
    long = [(0, what) for row, what in events if row == 4]
    record = pack(long, "float32", 7 * 96 * 64 * 4)
    table, tally = ClipTagger(tagger, settings())(clips, unpack(*record, "float32"))
    assert (record[0], len(table), tally) == (
        "[]",
        0,
        Tally(seconds=tally.seconds, cpu_seconds=tally.cpu_seconds),
    )
    assert table.schema == schema.staged("float32")


def test_no_patches_pack_to_nothing() -> None:
    order, data = pack([(0, ClipError(Reason.EMPTY, "no bytes"))], "float32")
    assert data.size == 0
    assert len(list(unpack(order, data, "float32"))) == 1


def test_a_clip_that_breaks_after_its_first_patches_is_a_failure(
    clips: pa.Table, tagger: Tagger
) -> None:
    signal = Signal(2.0, 16_000, 1, 0.0, 2.0, 1.0, None)
    patches = np.zeros((2, 96, 64), np.float32)
    broken: list[stages.Event] = [
        (0, signal),
        (0, patches),
        (0, ClipError(Reason.CHANGED_DURING_RUN, "another", Stage.READ)),
        (1, signal),
        (1, patches),
    ]
    rows, tally = ClipTagger(tagger, settings())(clips.slice(0, 2), broken)
    assert rows["reason"].to_pylist() == ["changed_during_run", None]
    assert rows["embedding_values"].to_pylist()[0] == []
    assert tally.n_segments == 2


def test_a_vanished_clip_is_told_from_its_neighbours(clips: pa.Table) -> None:
    gone = clips.slice(1, 2).set_column(1, "uri", pa.array(["file:///no/such", clips["uri"][4]]))
    gone = gone.set_column(2, "version", pa.array(["1-1", clips["version"][4].as_py()]))
    found = list(Preprocessor(Limits())(gone.cast(schema.LISTING)))
    assert isinstance(found[0][1], ClipError)
    assert found[0][1].reason is Reason.VANISHED
    assert {row for row, _ in found[1:]} == {1}


def test_the_time_limit_grows_with_each_hour_that_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.zeros(2_250 * 3600, np.int16)
    samples[:4_000] = 10_000
    soundfile.write(tmp_path / "long.wav", samples, 1_000)
    granted: list[float] = []
    preprocess = Preprocessor(Limits(clip_timeout_s=60.0))
    original: Callable[[float], None] = preprocess._isolated.allow

    def allow(seconds: float) -> None:
        granted.append(seconds)
        original(seconds)

    monkeypatch.setattr(preprocess._isolated, "allow", allow)
    events = preprocess(listing.gather([str(tmp_path)]))
    assert isinstance(next(events)[1], Signal)
    assert granted == [pytest.approx(minutes, abs=0.2) for minutes in (60, 60, 15)]
    assert len(list(events)) == 1
    assert sum(granted) == pytest.approx(60 * 2.25)


def test_tallies_add_up() -> None:
    total = Tally()
    total.add(Tally(1, 2.0, 3, 4, 5, {"empty": 1}, {"model": 1.0}))
    total.add(Tally(10, 20.0, 30, 40, 50, {"empty": 2, "silent": 1}, {"model": 2.0, "rows": 1.0}))
    expected = Tally(11, 22.0, 33, 44, 55, {"empty": 3, "silent": 1}, {"model": 3.0, "rows": 1.0})
    assert total == expected
    assert total.n_failed == 4


def test_waiting_counts_the_time_of_the_source_only() -> None:
    def source() -> Iterator[int]:
        yield from range(3)

    tally = Tally()
    assert list(tally.waiting(source(), "patches")) == [0, 1, 2]
    assert 0.0 <= tally.seconds["patches"] < 1.0
