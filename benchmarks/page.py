"""One page of every figure, and a picture: made from the JSON files in ``results/``.

    python -m benchmarks.page

It measures nothing. Each section says on which machine, with which versions, at which commit and by
which command its figures were measured.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting import RESULTS, columns_of, text_of

TITLES: Final = {
    "embedding": "Embedding on a CPU with AVX-512: VGGish beside other engines",
    "embedding_2_threads": "The same on two cores",
    "embedding_avx2": "Embedding on a CPU with AVX2, by the code of November 22",
    "gpu": "On a GPU",
    "tag_job": "The whole job beside torchvggish's loop",
    "training": "Training beside a plain loop of torch, and preparing for it",
    "growth": "Many clips, long recordings",
    "search": "Search beside DuckDB and usearch",
    "search_quality": "Of ten neighbours, how many are of the same kind",
    "few_clips": "Few clips: what was tried for the bundled model",
    "two_labels": "Mixtures of two sounds: are both among the first two tags",
    "novelty": "Strange sounds told from known ones",
    "housekeeping": "Outputs of ten thousand nights",
    "soak": "Jobs killed at random",
    "fuzz": "Broken files",
}
"""The section of each file of results, in order."""

OURS: Final = "#c2410c"
PEERS: Final = "#94a3b8"

Rows = Sequence[dict[str, Any]]


def main() -> None:
    found = results()
    picture(found).savefig(RESULTS / "speed.png", dpi=150)
    (RESULTS / "README.md").write_text(page(found), encoding="utf-8")


def results() -> dict[str, dict[str, Any]]:
    """What the files of results hold, by name, of those that there are."""
    paths = {name: RESULTS / f"{name}.json" for name in TITLES}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.exists()
    }


def page(found: dict[str, dict[str, Any]]) -> str:
    """The page, from the content of the files by name."""
    sections = [
        f"## {TITLES[name]}\n\n{_measured(content)}\n\n{_table(content['rows'])}\n"
        for name, content in found.items()
    ]
    head = (
        "# Figures\n\nMade by `python -m benchmarks.page` from the files beside it; `make bench` "
        "measures speed anew.\n\n![patches and clips a second beside peers, and how jobs grow]"
        "(speed.png)\n"
    )
    return "\n".join([head, *sections])


def _measured(content: dict[str, Any]) -> str:
    """Where the figures of a file come from."""
    versions = ", ".join(
        f"{package} {version}"
        for package, version in content["versions"].items()
        if version != "not installed"
    )
    card = f" {content['card']}, CUDA {content['cuda']}." if "cuda" in content else ""
    note = f" {content['note']}" if "note" in content else ""
    return (
        f"`{content['command']}` on {content['at'][:10]}, commit {content['commit']}: "
        f"{content['cores']} cores of {content['cpu']}, Python {content['python']}, {versions}."
        f"{card}{note}"
    )


def _table(rows: Rows) -> str:
    columns = columns_of(rows)
    lines = [columns, ["---"] * len(columns)]
    lines += [[text_of(row.get(name, "")) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(found: dict[str, dict[str, Any]]) -> Figure:
    """Patches/s and clips/s beside peers, and seconds against clips."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    engine, job, growth = figure.subplots(1, 3, width_ratios=(3, 2, 2))
    rows = [row for row in found["embedding"]["rows"] if row["widths"] == "paper"]
    largest = max(row["batch"] for row in rows)
    _bars(engine, {r["way"]: r["patches/s"] for r in rows if r["batch"] == largest})
    engine.set(title=f"VGGish, one core, batches of {largest}", xlabel="patches a second")
    _bars(job, {row["what"]: row["clips/s"] for row in found["tag_job"]["rows"]})
    job.set(title="whole job, clips of 5 s", xlabel="clips a second")
    sizes = [row for row in found["growth"]["rows"] if "clips" in row]
    growth.loglog([row["clips"] for row in sizes], [row["job s"] for row in sizes], "o-", c=OURS)
    growth.set(title="jobs that grow", xlabel="clips of 0.3 to 1.3 s", ylabel="s, start included")
    return figure


def _bars(axes: Axes, values: dict[str, float]) -> None:
    """Horizontal bars, each with its number; ours in colour."""
    names = list(reversed(values))
    numbers = [values[name] for name in names]
    colours = [OURS if "ours" in name or name.startswith("tag") else PEERS for name in names]
    axes.bar_label(axes.barh(names, numbers, color=colours), fmt="%.3g", padding=3)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
