"""Recordings broken at random through the very path of the job: each must end as one row.

    python -m benchmarks.fuzz [--n N] [--seed S] [--only I] [--keep FOLDER] [--write]

Input ``i`` of seed ``s`` is always the same file, so that ``--seed s --only i`` repeats it. The
tests take some hundred from here; this takes thousands and counts the outcomes. It ends with exit
code 1 if an input has no row, or two, or took longer than its limit, or killed its decoder.
"""

import argparse
import io
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import soundfile

from benchmarks.reporting import show, write
from pipelines.inputs.listing import gather
from pipelines.runtime.limits import Limits
from pipelines.tagging.job import TagJob
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import ClipTagger, Event, Preprocessor
from tagger.errors import Reason
from tagger.tagging import Tagger

KINDS: Final = ("wav", "wav float", "flac", "ogg", "opus", "mp3", "m4a")
LIMITS: Final = Limits(clip_timeout_s=20.0, max_hours=0.05, clip_memory_mb=1024)
BATCH: Final = 200
BAD: Final = (Reason.CRASHED, Reason.TIMEOUT, Reason.OUT_OF_MEMORY)
_SUBTYPES: Final = {"wav float": "FLOAT", "opus": "OPUS"}
_NUMBERS: Final = (
    *(bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"),
    *(b"\0\0\0\1", b"\1\0\0\0", b"\xff", b"\0", b"\0\0", b"\xff\xff", b"\xff" * 8),
)


def originals() -> dict[str, bytes]:
    """A sound recording of each kind, about a second long, in stereo."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((16_000, 2))
    samples[4_000:8_000] = 0.0
    found = {}
    for kind in KINDS:
        buffer = io.BytesIO()
        if kind == "m4a":
            _write_m4a(buffer, samples)
        else:
            container = {"opus": "OGG"}.get(kind, kind.split()[0].upper())
            soundfile.write(buffer, samples, 16_000, _SUBTYPES.get(kind), format=container)
        found[kind] = buffer.getvalue()
    return found


def _write_m4a(buffer: io.BytesIO, samples: np.ndarray[Any, Any]) -> None:
    packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
    frame.sample_rate = 16_000
    with av.open(buffer, "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=16_000, layout="stereo")
        resampler = av.AudioResampler("fltp", "stereo", 16_000, 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(part))


def mutated(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Some edits, most of them in the header: bits, numbers, pieces lost, repeated or borrowed.

    Parameters
    ----------
    other : a recording of any kind, that pieces are borrowed from
    """
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        zone = min(len(changed), int(rng.choice([48, 128, 1024, len(changed)])))
        at = int(rng.integers(0, zone + 1))
        _edit(changed, at, rng, other)
    if rng.random() < 0.2:
        del changed[int(rng.integers(0, len(changed) + 1)) :]
    return bytes(changed)


def _edit(changed: bytearray, at: int, rng: np.random.Generator, other: bytes) -> None:
    size = int(rng.choice([1, 2, 4, 8, 64, 1000]))
    how = rng.integers(0, 7)
    if how == 0 and at < len(changed):
        changed[at] ^= 1 << int(rng.integers(0, 8))
    elif how in (1, 2):
        number = _NUMBERS[int(rng.integers(0, len(_NUMBERS)))]
        changed[at : at + len(number)] = number
    elif how == 3:
        changed[at : at + size] = rng.bytes(size)
    elif how == 4:
        del changed[at : at + size]
    elif how == 5:
        changed[at:at] = changed[at : at + size] * int(rng.integers(1, 4))
    elif how == 6:
        start = int(rng.integers(0, len(other)))
        changed[at : at + size] = other[start : start + size]


def inputs(n: int, seed: int, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Inputs ``first`` to ``n``: name of the file (number and kind in it), and content."""
    sounds = originals()
    for i in range(first, n):
        rng = np.random.default_rng((seed, i))
        kind = KINDS[i % len(KINDS)]
        other = sounds[KINDS[int(rng.integers(0, len(KINDS)))]]
        data = mutated(sounds[kind], rng, other)
        if rng.random() < 0.5:  # else few broken Ogg pages come as far as a decoder
            data = with_checksums(data)
        yield f"{i:06d} {kind}.{kind.split()[0]}", data


def with_checksums(data: bytes) -> bytes:
    """The checksum of every Ogg page made right again."""
    changed = bytearray(data)
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    for start, end in pairwise([*starts, len(data)]):
        if end - start >= 27:
            changed[start + 22 : start + 26] = bytes(4)
            crc = 0
            for byte in changed[start:end]:
                crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
            changed[start + 22 : start + 26] = crc.to_bytes(4, "little")
    return bytes(changed)


def _crc_of(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


_CRC: Final = [_crc_of(byte) for byte in range(256)]


class JobPath:
    """What a worker of the job does to a batch, in this process."""

    def __init__(self, model: str, limits: Limits = LIMITS) -> None:
        self._preprocess = Preprocessor(limits)
        settings = RowSettings.of(TagJob(inputs=(), out="", timeline=True), "model", "run")
        self._tag = ClipTagger(Tagger.load(model), settings)
        self.longest_s = 0.0

    def outcomes(self, made: dict[str, bytes]) -> dict[str, tuple[str, str]]:
        """What each file of a batch came to, and more about it, by name."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in made.items():
                Path(folder, name).write_bytes(data)
            clips = gather([folder])
            table, tally = self._tag(clips, self._timed(self._preprocess(clips)))
        assert table["clip_id"].to_pylist() == clips["clip_id"].to_pylist()
        assert tally.n_tagged + tally.n_failed == len(made)
        rows = {Path(row["uri"]).name: row for row in table.to_pylist()}
        assert rows.keys() == made.keys()
        return {name: outcome(row) for name, row in rows.items()}

    def _timed(self, events: Iterator[Event]) -> Iterator[Event]:
        while True:
            start = time.perf_counter()
            event = next(events, None)
            self.longest_s = max(self.longest_s, time.perf_counter() - start)
            if event is None:
                return
            yield event


def outcome(row: dict[str, Any]) -> tuple[str, str]:
    """``tagged``, ``tagged, damaged``, or why it failed; checks what such a row must hold."""
    if row["reason"] is not None:
        assert "\n" not in row["detail"]
        return str(Reason(row["reason"])), row["detail"]
    assert row["n_segments"] >= 1
    assert row["tags"]
    assert 0.0 <= row["content_start_s"] < row["content_end_s"] <= row["duration_s"]
    return ("tagged, damaged" if row["damage"] else "tagged"), row["damage"] or ""


def kind_of(name: str) -> str:
    return Path(name).stem.partition(" ")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="I", help="this input alone")
    parser.add_argument("--keep", type=Path, help="folder for what hangs or kills its decoder")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    first, end = (0, flags.n) if flags.only is None else (flags.only, flags.only + 1)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    bad: list[str] = []
    path = JobPath(TagJob(inputs=(), out="").model)
    start = time.perf_counter()
    for begin in range(first, end, BATCH):
        made = dict(inputs(min(end, begin + BATCH), flags.seed, begin))
        for name, (what, detail) in path.outcomes(made).items():
            counts[kind_of(name)][what] += 1
            if what in BAD:
                bad.append(f"{what}: seed {flags.seed}, {name}: {detail}")
                _keep(flags.keep, name, made[name])
    known = sorted({what for of_kind in counts.values() for what in of_kind})
    table = [
        {"kind": kind, **{what: of_kind[what] for what in known}, "all": of_kind.total()}
        for kind, of_kind in counts.items()
    ]
    spent_s = time.perf_counter() - start
    show(f"seed {flags.seed}: {end - first} inputs in {spent_s:.0f} s", table)
    sys.stdout.write(f"longest wait for a decoder: {path.longest_s:.2f} s\n")
    sys.stdout.write("".join(f"{line}\n" for line in bad))
    if flags.write:
        write("fuzz", table)
    sys.exit(bool(bad))


def _keep(folder: Path | None, name: str, data: bytes) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
