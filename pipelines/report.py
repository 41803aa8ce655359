"""What ``tag`` tells at its end, for people or as JSON."""

import json
import sys
from dataclasses import asdict
from typing import Any

from pipelines import listing
from pipelines.config import TagJob
from pipelines.progress import duration
from pipelines.rows import RowSettings
from pipelines.runs import RunRecord
from pipelines.status import Status
from pipelines.tag import Preview


def show_summary(record: RunRecord, as_json: bool) -> None:
    """One clear summary of a run."""
    found = record.summary()
    if as_json:
        _print_json(found)
        return
    lines = [
        f"{record.state}: run {record.run_id}, model {record.model_id}",
        f"  listed    {record.n_listed:,} clips; {record.n_done_before:,} tagged before, "
        f"{record.n_given_up:,} given up before",
        f"  tagged    {found['n_tagged']:,} clips, {found['audio_hours']:.2f} h of audio "
        f"in {duration(found['wall_s'])}",
        f"  failed    {found['n_failed']:,}",
    ]
    lines += [f"    {reason:<20}{n:,}" for reason, n in sorted(record.tally.failures.items())]
    _print("\n".join(lines))


def show_preview(preview: Preview, as_json: bool) -> None:
    """What a run would do."""
    if as_json:
        _print_json(asdict(preview))
        return
    _print(
        f"would work on {preview.n_to_do:,} clips ({preview.bytes_to_do / 1e6:,.1f} MB) of "
        f"{preview.n_listed:,} listed; {preview.n_tagged:,} are tagged, "
        f"{preview.n_given_up:,} given up"
    )


def show_status(status: Status, as_json: bool) -> None:
    """What an output holds, and what is wrong with it."""
    if as_json:
        _print_json(asdict(status))
        return
    for run in status.runs:
        _print(
            f"run {run['run_id']}  {run['state']:<12}{run['n_tagged']:>10,} tagged"
            f"{run['n_failed']:>8,} failed{run['audio_hours']:>10.2f} h  {run['model_id']}"
        )
    for model in status.models:
        _print(f"model {model.model_id}: {model.n_tagged:,} clips in {model.n_entries:,} entries")
        for reason, n in sorted(model.open_failures.items()):
            _print(f"  failed    {reason:<20}{n:,}")
        _print(f"  waiting   {model.n_unpublished} entries, {model.n_staged} staged files")
        for line in model.broken:
            _print(f"  WRONG     {line}")


def print_tags(job: TagJob, as_json: bool) -> None:
    """Tags of a few clips straight to the terminal; no Ray, no tables."""
    from pipelines.stages import ClipTagger, Preprocessor
    from tagger.tagging import Tagger

    tagger = Tagger.load(job.model)
    settings = RowSettings(
        tagger.card.model_id, "", job.top_k, job.threshold, False, job.embedding_dtype, False
    )
    preprocess, tag = Preprocessor(job.limits), ClipTagger(tagger, settings)
    clips = listing.gather(job.inputs).slice(0, job.limit)
    for i in range(len(clips)):
        clip = clips.slice(i, 1)
        table, _ = tag(clip, preprocess(clip))
        (row,) = table.select(["uri", "duration_s", "tags", "reason", "detail"]).to_pylist()
        if as_json:
            _print(json.dumps(row, ensure_ascii=False))
        elif row["reason"]:
            _print(f"{row['uri']}\n  failed: {row['reason']} ({row['detail']})")
        else:
            _print(f"{row['uri']}\n  {_tags(row['tags'])}")


def _tags(tags: list[dict[str, Any]]) -> str:
    return "  ".join(f"{tag['tag']} {tag['score']:.2f}" for tag in tags) or "no tag"


def _print_json(content: dict[str, Any]) -> None:
    _print(json.dumps(content, indent=2, ensure_ascii=False))


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
