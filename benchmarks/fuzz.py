"""Recordings broken at random through the very path of the job: each must end as one row.

    python -m benchmarks.fuzz [--n N] [--seed S] [--only I] [--keep FOLDER] [--write]

Input ``i`` of seed ``s`` is always the same file, so that ``--seed s --only i`` repeats it. The
tests take some hundred of the commonest kinds; this takes thousands of more kinds and counts the
outcomes. It ends with exit code 1 if an input has no row, or two, or took longer than its limit, or
killed its decoder.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks.reporting import show, write
from pipelines.tagging.job import TagJob
from tests.support.broken_sounds import KINDS, MORE_KINDS, inputs
from tests.support.job_path import BAD, JobPath

BATCH: Final = 200
ALL_KINDS: Final = (*KINDS, *MORE_KINDS)


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
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ALL_KINDS}
    bad: list[str] = []
    path = JobPath(TagJob(inputs=(), out="").model)
    start = time.perf_counter()
    for begin in range(first, end, BATCH):
        made = dict(inputs(min(end, begin + BATCH), flags.seed, begin, ALL_KINDS))
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
