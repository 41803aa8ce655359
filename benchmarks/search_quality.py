"""Does what is found sound alike? Of the first ten other clips, how many are of the same kind.

    python -m benchmarks.search_quality DATA [--write]

DATA is ESC-10 or any data set that ``prepare`` takes. Its clips are tagged with the bundled model.
Then each clip of fold 1 is searched for (``search CLIP --per-clip --top 10``) among all others. The
bundled model was trained on ESC-10, so there the figures tell that a search finds what the model
can tell apart, not how it does on sounds that it has never heard.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.reporting import show, write
from pipelines.inputs.access import InputLimits
from pipelines.searching.job import SearchJob
from pipelines.searching.run import find
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tagger.dataset import load

TOP: Final = 10
FOLD: Final = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        rows = measured(flags.data, out)
    show(f"of the first {TOP} other clips", rows)
    if flags.write:
        write("search_quality", rows)


def measured(data: str, out: str) -> list[dict[str, Any]]:
    """Hits of each kind of sound."""
    clips = load(data).clips
    manifest = Path(out, "clips.txt")
    manifest.write_text("\n".join(clips["uri"]) + "\n", encoding="utf-8")
    tables = str(Path(out, "tables"))
    local = InputLimits(allow_local=True)  # the manifest names clips that lie elsewhere
    tag(TagJob(inputs=(str(manifest),), out=tables, max_failed=1.0, input_limits=local), ["tag"])
    kinds = dict(zip(clips["uri"], clips["label"], strict=True))
    hits = defaultdict(list)
    for uri in clips["uri"][clips["fold"] == FOLD]:
        found = find(SearchJob(queries=(uri,), tables=tables, top=TOP, per_clip=True))
        same = [kinds[answer] == kinds[uri] for answer in found["uri"].to_pylist()]
        hits[kinds[uri]].append(sum(same))
    rows = [
        {"kind": kind, "queries": len(n), "mean": float(np.mean(n)), "least": min(n)}
        for kind, n in sorted(hits.items())
    ]
    every = np.concatenate(list(hits.values()))
    total = {"queries": len(every), "mean": float(every.mean()), "least": int(every.min())}
    return [*rows, {"kind": "all"} | total]


if __name__ == "__main__":
    main()
