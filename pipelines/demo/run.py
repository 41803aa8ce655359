"""``make demo``: a small collection, tagged by the real job, and what the tables then answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
import numpy.typing as npt
import soundfile

from pipelines.demo.sounds import SOUNDS
from pipelines.output.query import answer
from pipelines.reporting.job import ReportJob
from pipelines.reporting.run import report
from pipelines.runtime import standard_streams
from pipelines.runtime.text_table import text_table
from pipelines.storage.store import open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag

DEMO: Final = Path("demo")
SECONDS: Final = 8.0
SEED: Final = 1


class Recording(NamedTuple):
    """How one sound is stored; ``codec`` is soundfile's subtype, or PyAV's name for m4a."""

    sound: str
    suffix: str
    codec: str
    rate_hz: int
    channels: int


RECORDINGS: Final = (
    Recording("rain", "wav", "PCM_16", 44_100, 2),
    Recording("surf", "flac", "PCM_24", 48_000, 1),
    Recording("ticking clock", "ogg", "VORBIS", 22_050, 1),
    Recording("helicopter", "mp3", "MPEG_LAYER_III", 44_100, 2),
    Recording("chainsaw", "aiff", "PCM_16", 32_000, 1),
    Recording("crackling fire", "ogg", "OPUS", 48_000, 2),
    Recording("rooster", "m4a", "aac", 44_100, 1),
    Recording("crying baby", "wav", "PCM_U8", 16_000, 1),
    Recording("barking dog", "wav", "FLOAT", 48_000, 6),
)


def demo(audio: str | None = None) -> None:
    """Tag the caller's own audio, or a collection that is made here, and show what came of it."""
    if audio is None:
        audio = str(make_collection(DEMO / "audio"))
        _say(f"{len(RECORDINGS)} synthesised recordings and two broken ones in {audio}\n")
    out = DEMO / "tables"
    record = tag(TagJob(inputs=(audio,), out=str(out), max_failed=1.0), ["demo", audio])
    _say(f"\nrun {record.run_id} with model {record.model_id}; tables in {out}\n")
    for title, query in _questions():
        _say(f"{title}\n\n{query}\n")
        with answer(open_store(str(out)), query) as rows:
            values = (row.values() for batch in rows for row in batch.to_pylist())
            for line in text_table(rows.schema.names, values):
                _say(line)
        _say("")
    page = report(ReportJob(tables=str(out), out=str(DEMO / "report.html"))).page
    _say(f"To look and listen, open {page} in a browser.")


def _questions() -> Iterator[tuple[str, str]]:
    yield (
        "Tags of each recording:",
        """SELECT regexp_extract(c.uri, '[^/]*$') AS recording, round(duration_s, 1) AS seconds,
       string_agg(tag || ' ' || round(score, 2), ', ' ORDER BY rank) AS tags,
       round(novelty, 2) AS novelty, damage
FROM current_clips c LEFT JOIN current_tags USING (clip_id) GROUP BY ALL ORDER BY 1""",
    )
    yield (
        "What could not be tagged, and why:",
        """SELECT regexp_extract(uri, '[^/]*$') AS recording, stage, reason, detail
FROM open_failures ORDER BY 1""",
    )
    yield (
        "What the archive holds:",
        """SELECT tag, mid, count(*) AS clips, round(sum(duration_s) / 60, 1) AS minutes
FROM top_tags t JOIN current_clips c USING (clip_id) GROUP BY ALL ORDER BY clips DESC, tag""",
    )


def make_collection(folder: Path) -> Path:
    """Write the recordings, one cut off in the middle and one without a byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for recording in RECORDINGS:
        _write(folder, recording)
    whole = (folder / "surf.flac").read_bytes()
    (folder / "cut off.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").write_bytes(b"")
    return folder


def _write(folder: Path, recording: Recording) -> None:
    rng = np.random.default_rng(SEED)
    mono = SOUNDS[recording.sound](SECONDS, recording.rate_hz, rng)
    samples = np.repeat((0.5 * mono / np.abs(mono).max())[:, None], recording.channels, axis=1)
    path = folder / f"{recording.sound}.{recording.suffix}"
    if recording.suffix == "m4a":
        _write_m4a(path, samples.astype(np.float32), recording)
        return
    container = recording.suffix.upper()
    soundfile.write(path, samples, recording.rate_hz, recording.codec, format=container)


def _write_m4a(path: Path, samples: npt.NDArray[np.float32], recording: Recording) -> None:
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream(recording.codec, rate=recording.rate_hz, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout="mono")
        frame.sample_rate = recording.rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _say(text: str) -> None:
    standard_streams.put(text + "\n")
