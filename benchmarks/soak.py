"""The ``tag`` job on S3 under random kills, for as long as you like: what is lost, what is doubled?

    python -m benchmarks.soak [--clips N] [--minutes M] [--seed S] [--write]

A SeaweedFS server holds N short clips, some of them broken. The job runs in a process of its own
with its own Ray; every few seconds one of these is killed with SIGKILL: a decoding process, an
actor's worker, the raylet, the driver, the S3 server (which comes back some seconds later); or a
bit is flipped in a random file of the output. The same command is given again until it completes,
and what an error names is mended. Then ``status --verify`` must tell of all bits that no run has
mended, the tables are compared with what the library says of each clip, and the next round begins
with an empty output. It ends with exit code 1 if a clip is lost, doubled, or other than
undisturbed, or a flipped bit was neither told nor mended.
"""

import argparse
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from benchmarks.flips import Flips
from benchmarks.reporting import show, write
from pipelines.cli.exit_codes import Exit
from pipelines.output.status import status
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import Store, open_store
from tagger.errors import ClipError
from tagger.results import Result
from tagger.tagging import Tagger
from tests.support.processes import actors, below, decoders, raylets
from tests.support.s3_server import S3Server
from tests.support.tiny_model import save_tiny_model

N_CONTENTS: Final = 40
PAUSE_S: Final = (4.0, 25.0)  # between two kills
AWAY_S: Final = (1.0, 20.0)  # of the S3 server
MOST_ATTEMPTS: Final = 200  # of one command, before it counts as never completing
N_EXTRACTORS: Final = 2
N_TAGS: Final = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="of random kills, at least")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    sys.stdout.write(f"seed {flags.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = soak(Path(folder), flags.clips, flags.minutes * 60, random.Random(flags.seed))
    show(f"soak, seed {flags.seed}", rows)
    if flags.write:
        write("soak", rows)
    sys.exit(any(row[what] for row in rows for what in ("lost", "doubled", "other", "silent")))


@dataclass
class Round:
    """One output, from empty to complete."""

    n_clips: int
    kills: Counter[str] = field(default_factory=Counter)
    exits: Counter[int] = field(default_factory=Counter)
    flips: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def row(self, findings: dict[str, int]) -> dict[str, Any]:
        """What is shown and kept."""
        kills = " ".join(f"{n} {what}" for what, n in sorted(self.kills.items()))
        exits = " ".join(f"{n}x{code}" for code, n in sorted(self.exits.items()))
        return {
            "clips": self.n_clips,
            "seconds": self.seconds,
            "kills": kills,
            "exit codes": exits,
            "flips": " ".join(f"{n} {what}" for what, n in sorted(self.flips.items())),
            "silent": self.flips["silent"],
            **findings,
        }


def soak(folder: Path, n_clips: int, seconds: float, rng: random.Random) -> list[dict[str, Any]]:
    """Rounds until the time is over; at least one."""
    model = save_tiny_model(folder / "model")
    contents = make_contents()
    expected = {name: told_by_library(Tagger.load(model), data) for name, data in contents.items()}
    server = S3Server(folder / "s3")
    server.folder.mkdir()
    server.start()
    rows: list[dict[str, Any]] = []
    try:
        with patch.dict(os.environ, server.env):
            where = server.new_prefix()
            upload(where, n_clips, contents)
            end = time.monotonic() + seconds
            while not rows or time.monotonic() < end:
                out = server.new_prefix()
                done = complete(where, out, model, n_clips, server, rng, end)
                rows.append(done.row(findings(open_store(out), where, n_clips, expected)))
                sys.stdout.write(f"{rows[-1]}\n")
    finally:
        server.kill()
    return rows


def make_contents() -> dict[str, bytes]:
    """Short recordings of several formats, the last of them broken; name to bytes."""
    rng = np.random.default_rng(0)
    made = {}
    for i in range(N_CONTENTS - 2):
        kind = ("wav", "flac", "ogg")[i % 3]
        samples = 0.1 * rng.standard_normal(round(rng.uniform(0.2, 1.5) * 16_000))
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16_000, format=kind)
        made[f"{i}.{kind}"] = buffer.getvalue()
    return made | {"empty.wav": b"", "noise.mp3": b"no sound " * 50}


def told_by_library(tagger: Tagger, data: bytes) -> Result | str:
    """What an undisturbed run says of a clip: its result, or why it fails."""
    try:
        return tagger.tag(data, N_TAGS)
    except ClipError as error:
        return str(error.reason)


def upload(where: str, n_clips: int, contents: dict[str, bytes]) -> None:
    """Clips ``<number>-<content>`` below a prefix."""
    names = list(contents)
    prefix = where.removeprefix("s3://")
    fs = filesystem(where)
    for start in range(0, n_clips, 500):
        part = range(start, min(start + 500, n_clips))
        chosen = {i: names[i % len(names)] for i in part}
        fs.pipe({f"{prefix}/{i:06d}-{name}": contents[name] for i, name in chosen.items()})


def complete(
    where: str,
    out: str,
    model: Path,
    n_clips: int,
    server: S3Server,
    rng: random.Random,
    end: float,
) -> Round:
    """Give the same command until it completes, with kills on the way until ``end``."""
    found = Round(n_clips)
    start = time.monotonic()
    command = [sys.executable, "-m", "pipelines", "tag", where, "--out", out]
    command += ["--model", str(model), "--precision", "float32", "--cpus", "2"]
    flips, more = Flips(open_store(out), rng), list[str]()
    while found.exits.total() < MOST_ATTEMPTS:
        driver = subprocess.Popen(
            command + more, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while driver.poll() is None:
            wait(driver, rng.uniform(*PAUSE_S))
            if driver.poll() is None and time.monotonic() < end:
                found.kills[do_harm(driver, server, flips, rng)] += 1
        _, said = driver.communicate()
        found.exits[driver.returncode] += 1
        if driver.returncode == 0:
            break
        if driver.returncode > 0:
            sys.stdout.write(f"exit code {driver.returncode}: {said.splitlines()[-1:]}\n")
        if driver.returncode == Exit.COMMAND:
            more = flips.mend(said)
    flips.settle()
    found.flips = flips.came_to
    found.seconds = time.monotonic() - start
    return found


def wait(driver: subprocess.Popen[str], seconds: float) -> None:
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def do_harm(
    driver: subprocess.Popen[str], server: S3Server, flips: Flips, rng: random.Random
) -> str:
    """Kill one of what is there, or flip a bit of the output; returns what it was."""
    family = below(driver.pid)
    kinds = {"decoder": decoders, "actor": actors, "raylet": raylets}
    victims = {name: find(family) for name, find in kinds.items()}
    always = ("driver", "s3 server", "bit", "bit")
    what = rng.choice([*(name for name, found in victims.items() if found), *always])
    if what == "bit":
        flips.flip()
    elif what == "driver":
        driver.kill()
    elif what == "s3 server":
        server.kill()
        time.sleep(rng.uniform(*AWAY_S))
        server.start()
    else:
        rng.choice(victims[what]).kill()
    return what


def findings(
    store: Store, where: str, n_clips: int, expected: dict[str, Result | str]
) -> dict[str, int]:
    """How many clips are lost, doubled, and other than an undisturbed run has them."""
    clips, tags = (read(store, table) for table in ("clips", "tags"))
    failures = read(store, "failures")
    places = read(store, "embeddings", ["clip_id", "extractor", "segment"])
    tagged = Counter(clips["uri"].to_pylist())
    failed = set(failures["uri"].to_pylist())
    n_listed_seen = len(set(tagged) | failed)
    other = sum(not as_expected(row, expected) for row in with_tags(clips, tags, places)) + sum(
        expected[content_of(row["uri"])] != row["reason"]
        for row in failures.to_pylist()
        if row["final"]
    )
    return {
        "lost": n_clips - n_listed_seen,
        "doubled": sum(n - 1 for n in tagged.values()) + len(set(tagged) & final(failures)),
        "other": other + sum(len(model.broken) for model in status(store, verify="bytes").models),
    }


def final(failures: pa.Table) -> set[str]:
    return set(failures.filter(failures["final"])["uri"].to_pylist())


def content_of(uri: str) -> str:
    return uri.rpartition("/")[2].partition("-")[2]


def with_tags(clips: pa.Table, tags: pa.Table, places: pa.Table) -> list[dict[str, Any]]:
    """Each clip with the scores of its tags by name, and the number of its distinct embeddings."""
    scores: dict[str, list[tuple[str, float]]] = {}
    for row in tags.sort_by("rank").to_pylist():
        scores.setdefault(row["clip_id"], []).append((row["tag"], row["score"]))
    distinct = places.group_by(["clip_id", "extractor", "segment"]).aggregate([])
    all_of, each_of = (
        dict(zip(*(column.to_pylist() for column in counted.columns), strict=True))
        for counted in (
            table.group_by("clip_id").aggregate([("segment", "count")])
            for table in (places, distinct)
        )
    )
    return [
        row
        | {"tags": scores.get(row["clip_id"], [])}
        | {"n_rows": all_of.get(row["clip_id"], 0), "n_places": each_of.get(row["clip_id"], 0)}
        for row in clips.to_pylist()
    ]


def as_expected(row: dict[str, Any], expected: dict[str, Result | str]) -> bool:
    """Whether a clip has exactly its tags and embeddings."""
    result = expected[content_of(row["uri"])]
    if isinstance(result, str):
        return False
    n_rows = N_EXTRACTORS * len(result.start_s)
    return (
        row["n_rows"] == row["n_places"] == n_rows
        and row["n_segments"] == len(result.start_s)
        and [name for name, _ in row["tags"]] == [tag.tag for tag in result.tags]
        and np.allclose([s for _, s in row["tags"]], [t.score for t in result.tags], atol=1e-5)
    )


def read(store: Store, table: str, columns: list[str] | None = None) -> pa.Table:
    """A whole table."""
    files = [io.BytesIO(store.read(path)) for path in store.list(table)]
    return pa.concat_tables([pq.ParquetFile(file).read(columns) for file in files])


if __name__ == "__main__":
    main()
