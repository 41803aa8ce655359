"""What a terminal shows of a command's results, for people or as JSON.

Every line is made visible here (``pipelines.runtime.visible``), and nowhere before. What a command
was given for is shown or is an error; a job that has ended is not undone by what nobody reads.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pipelines.inputs.skipped import in_words
from pipelines.runtime import standard_streams
from pipelines.runtime.progress import duration
from pipelines.runtime.visible import visible, visible_json
from tagger.schema import NONE_OF_THESE

if TYPE_CHECKING:  # a command that shows no results need not load what makes them
    from pipelines.exporting.export import Exported
    from pipelines.housekeeping.compact import Compacted
    from pipelines.housekeeping.forget import ForgetReport
    from pipelines.housekeeping.rebuild_log import RebuildReport
    from pipelines.output.failed_clips import FailedClip
    from pipelines.output.run_records import RunRecord
    from pipelines.reporting.run import Reported
    from pipelines.retagging.run import Retagged
    from pipelines.tagging.cost import Cost
    from pipelines.tagging.preview import Preview

MOST_NAMES: Final = 20


@contextmanager
def after_work() -> Iterator[None]:
    """Around what is shown of a job that is done: a warning, where it cannot be shown."""
    try:
        yield
    except standard_streams.OutputLost as error:
        standard_streams.tell(f"warning: {error}\n")


@after_work()
def show_summary(record: "RunRecord", failed_clips: Sequence["FailedClip"], as_json: bool) -> None:
    """One clear summary of a run.

    Parameters
    ----------
    failed_clips : some that failed in this run
    """
    found = record.summary()
    if as_json:
        show_json(found | {"failed_clips": [asdict(clip) for clip in failed_clips]})
        return
    _print(f"{record.state}: run {record.run_id}, model {record.model_id}")
    forgotten = f", {record.n_forgotten:,} forgotten" if record.n_forgotten else ""
    _print(
        f"  listed    {record.n_listed:,} clips; {record.n_done_before:,} tagged before, "
        f"{record.n_given_up:,} given up before{forgotten}"
    )
    _show_skipped(record.skipped)
    _print(
        f"  tagged    {found['n_tagged']:,} clips, {found['audio_hours']:.2f} h of audio "
        f"in {duration(found['wall_s'])}"
    )
    if record.tally.n_none_of_these:
        _print(f"  strange   {record.tally.n_none_of_these:,} of them: {NONE_OF_THESE}")
    if record.labelling == "several":
        _print("  scores    of each label by itself: those of a clip do not sum to 1")
    _print(f"  failed    {found['n_failed']:,}")
    for reason, n in sorted(record.tally.failures.items()):
        _print(f"    {reason:<20}{n:,}")
    for line in failure_lines(failed_clips, record.tally.n_failed):
        _print(line)
    _print(f"  tables    {record.config['out']}")


def failure_lines(clips: Sequence["FailedClip"], n_failed: int) -> Iterator[str]:
    """The clips by name, each with what became of it, and how many more there are.

    Parameters
    ----------
    n_failed : failed clips in all
    """
    for clip in clips:
        yield f"    {clip.uri}  {clip.reason}: {clip.detail}"
    if clips and n_failed > len(clips):
        yield f"    … and {n_failed - len(clips):,} more (status --json names all)"


def show_preview(preview: "Preview", as_json: bool) -> None:
    """What a run would do."""
    if as_json:
        show_json(asdict(preview))
        return
    forgotten = f", {preview.n_forgotten:,} forgotten" if preview.n_forgotten else ""
    _print(
        f"would work on {preview.n_to_do:,} clips ({preview.bytes_to_do / 1e6:,.1f} MB) of "
        f"{preview.n_listed:,} listed; {preview.n_tagged:,} are tagged, "
        f"{preview.n_given_up:,} given up{forgotten}"
    )
    _show_skipped(preview.skipped)
    _show_cost(preview.cost)
    if preview.gone:
        _print(f"{len(preview.gone):,} tagged recordings are gone; they stay in the tables:")
    for uri in preview.gone[:MOST_NAMES]:
        _print(f"  {uri}")
    if len(preview.gone) > MOST_NAMES:
        _print("  … (all with --json)")


def _show_cost(cost: "Cost") -> None:
    spent = f"{duration(3600 * cost.cpu_hours)} of one CPU"
    if cost.gpu_hours is None:
        spent += ", and GPU hours that nobody knows yet"
    elif cost.gpu_hours:
        spent += f", {duration(3600 * cost.gpu_hours)} of one GPU"
    if cost.hours is not None:
        spent += f", {duration(3600 * cost.hours)} on what was asked for"
    if cost.money is not None:
        spent += f", {cost.money:,.2f} at the price given"
    _print(f"  about     {cost.audio_hours:,.1f} h of audio: {spent}")
    _print(f"  tables    about {cost.output_bytes / 1e6:,.1f} MB")
    _print(f"  rate of   {cost.rate}")


def _show_skipped(skipped: Mapping[str, int]) -> None:
    if skipped:
        _print(f"  skipped   {in_words(skipped)}")


@after_work()
def show_forgotten(report: "ForgetReport", as_json: bool) -> None:
    """What ``forget`` did."""
    if as_json:
        show_json(asdict(report))
    elif report.retired is not None:
        _print(f"retired model {report.retired}")
    elif report.again:
        _print(f"{report.n_lifted:,} recordings may be tagged again")
    else:
        _print(
            f"forgot {report.n_recordings:,} recordings: erased {report.n_erased:,} clips and "
            "failed attempts"
        )


@after_work()
def show_compacted(models: Sequence["Compacted"], as_json: bool) -> None:
    """What ``compact`` did."""
    if as_json:
        show_json({"models": [asdict(model) for model in models]})
        return
    for model in models:
        _print(
            f"model {model.model_id}: {model.n_files_before:,} files became {model.n_files:,}, "
            f"{model.n_entries_before:,} entries {model.n_entries:,}"
        )
        if model.n_emptied:
            _print(
                f"  {model.n_emptied:,} of these files have no rows any more; a compact an hour "
                "from now removes them"
            )


def show_rebuilt(report: "RebuildReport", as_json: bool) -> None:
    """What ``rebuild-log`` did."""
    if as_json:
        show_json(asdict(report))
        return
    if report.settings:
        _print(f"_output.json is made anew {report.settings}")
    for model in report.models:
        _print(
            f"model {model.model_id}: {model.n_made:,} entries made anew with {model.n_clips:,} "
            f"clips, {model.n_markers:,} markers; {model.n_kept:,} entries kept"
        )
        for line in (*model.notes, *(f"WRONG  {line}" for line in model.broken)):
            _print(f"  {visible(line)}")


def show_tags(rows: Iterable[dict[str, Any]], as_json: bool) -> tuple[int, int]:
    """Tags of clips, or why they have none, as they come in; how many came, and how many failed."""
    n_clips = n_failed = 0
    for row in rows:
        n_clips += 1
        n_failed += row["reason"] is not None
        if not (_print_json(row, None) if as_json else _show_tags_of(row)):
            break  # nobody reads any more
    return n_clips, n_failed


def _show_tags_of(row: dict[str, Any]) -> bool:
    failure = f"failed: {row['reason']} ({row['detail']})"
    return _print(row["uri"]) and _print(f"  {failure if row['reason'] else _said(row)}")


def show_json(content: dict[str, Any] | list[Any]) -> None:
    """Whatever is for programs."""
    _print_json(content, 2)


@after_work()
def show_figures(content: dict[str, Any]) -> None:
    """Figures of a step of the training, as JSON."""
    _print_json(content, 2)


@after_work()
def show_report(text: str) -> None:
    """What a job has to say for itself, in lines."""
    show_lines(text.split("\n"))


def show_lines(lines: Iterable[str]) -> bool:
    """Show one line after the other; whether there still is a reader."""
    return all(map(_print, lines))


@after_work()
def show_retagged(done: "Retagged", as_json: bool) -> None:
    """What ``retag`` did."""
    if as_json:
        show_json(asdict(done))
        return
    before = f"; {done.n_before:,} were tagged before" if done.n_before else ""
    whose = f"the embeddings of {done.embedded_by}"
    _print(f"tagged {done.n_clips:,} clips with {done.model_id}, from {whose}{before}")
    for note in done.notes:
        _print(f"  note: {note}")


def show_exported(exported: "Exported", to: str, as_json: bool) -> None:
    """What ``export`` did."""
    if as_json:
        show_json(asdict(exported))
    else:
        _print(f"{exported.n_events:,} events in {exported.n_files:,} files below {to}")


@after_work()
def show_reported(reported: "Reported", as_json: bool) -> None:
    """What ``report`` wrote."""
    if as_json:
        show_json(asdict(reported))
        return
    clips = "1 clip" if reported.n_shown == 1 else f"{reported.n_shown:,} clips"
    _print(f"{reported.page} ({reported.n_bytes / 1e6:.1f} MB): {clips} to see and hear")
    if reported.n_problems:
        _print(f"  {reported.n_problems:,} of them could not be read or decoded; the page says why")
    if reported.n_left_out:
        _print(
            f"  {reported.n_left_out:,} more did not fit into one file; --out FOLDER holds them all"
        )


def show_note(text: str) -> None:
    """What is told beside the results, on standard error."""
    standard_streams.tell(f"{visible(text)}\n")


def _said(row: Mapping[str, Any]) -> str:
    tags = _tags(row["tags"])
    if not row["none_of_these"]:
        return tags
    return f"{NONE_OF_THESE} (novelty {row['novelty']:.2f}); nearest: {tags}"


def _tags(tags: list[dict[str, Any]]) -> str:
    return "  ".join(f"{tag['tag']} {tag['score']:.2f}" for tag in tags) or "no tag"


def _print(line: str) -> bool:
    """Whether there still is a reader."""
    return standard_streams.put(visible(line) + "\n")


def _print_json(content: Any, indent: int | None) -> bool:
    return standard_streams.put(json_text(content, indent) + "\n")


def json_text(content: Any, indent: int | None = None) -> str:
    """JSON as standard output can take it, whatever its encoding."""
    in_ascii = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(content, indent=indent, ensure_ascii=in_ascii, default=str)
    return visible_json(text)
