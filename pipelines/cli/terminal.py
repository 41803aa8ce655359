"""What a terminal shows of a command's results, for people or as JSON."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pipelines.runtime.progress import duration

if TYPE_CHECKING:  # a command that shows no results need not load what makes them
    from pipelines.output.run_records import RunRecord
    from pipelines.output.status import Status
    from pipelines.tagging.preview import Preview

MOST_NAMES: Final = 20


def show_summary(record: "RunRecord", as_json: bool) -> None:
    """One clear summary of a run."""
    found = record.summary()
    if as_json:
        show_json(found)
        return
    _print(f"{record.state}: run {record.run_id}, model {record.model_id}")
    _print(
        f"  listed    {record.n_listed:,} clips; {record.n_done_before:,} tagged before, "
        f"{record.n_given_up:,} given up before"
    )
    _print(
        f"  tagged    {found['n_tagged']:,} clips, {found['audio_hours']:.2f} h of audio "
        f"in {duration(found['wall_s'])}"
    )
    _print(f"  failed    {found['n_failed']:,}")
    for reason, n in sorted(record.tally.failures.items()):
        _print(f"    {reason:<20}{n:,}")
    _print(f"  tables    {record.config['out']}")


def show_preview(preview: "Preview", as_json: bool) -> None:
    """What a run would do."""
    if as_json:
        show_json(asdict(preview))
        return
    _print(
        f"would work on {preview.n_to_do:,} clips ({preview.bytes_to_do / 1e6:,.1f} MB) of "
        f"{preview.n_listed:,} listed; {preview.n_tagged:,} are tagged, "
        f"{preview.n_given_up:,} given up"
    )
    if preview.gone:
        _print(f"{len(preview.gone):,} tagged recordings are gone; they stay in the tables:")
    for uri in preview.gone[:MOST_NAMES]:
        _print(f"  {_visible(uri)}")
    if len(preview.gone) > MOST_NAMES:
        _print("  … (all with --json)")


def show_status(status: "Status", as_json: bool) -> None:
    """What an output holds, and what is wrong with it."""
    if as_json:
        show_json(asdict(status))
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
        if model.broken:
            _print("  restore what is lost or changed from a copy, or tag into another output")


def show_tags(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Tags of clips, or why they have none, as they come in."""
    for row in rows:
        if as_json:
            _print(json.dumps(row, ensure_ascii=False))
            continue
        _print(_visible(row["uri"]))
        failure = f"failed: {row['reason']} ({row['detail']})"
        _print(f"  {failure if row['reason'] else _tags(row['tags'])}")


def show_json(content: dict[str, Any]) -> None:
    """Figures of a step of the training, or whatever else is for programs."""
    _print(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def show_text(text: str) -> None:
    """What a job has to say for itself."""
    _print(text)


def _tags(tags: list[dict[str, Any]]) -> str:
    return "  ".join(f"{tag['tag']} {tag['score']:.2f}" for tag in tags) or "no tag"


def _visible(name: str) -> str:
    """The name in one line, without what would steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
