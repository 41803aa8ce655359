"""The verbs that tag: ``tag``, ``retag``, ``status`` and ``demo``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.cli.durations import parse_duration
from pipelines.cli.exit_codes import Exit, StaleOutput
from pipelines.cli.verb import Verb
from pipelines.retagging.job import RetagJob
from pipelines.tagging.job import TagJob
from tagger.configs import require_positive
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Tag(Verb):
    """Tag a collection of audio into Parquet tables.

    Needs recordings, in whatever formats; a small model comes with the package. More than about a
    minute of work is done on Ray, which is started here unless RAY_ADDRESS names a cluster.

    Leaves the tables clips, tags, events, timeline, embeddings and failures below --out, with
    views.sql to query them. The same command tags only what is new or has changed, and goes on
    after an interruption.

    Example::

        python -m pipelines tag s3://archive/2026/ 'old/**/*.flac' --out tables/
    """

    job: TagJob

    dry_run: bool = False
    """Tell what a run would do, and do nothing."""

    print: bool = False
    """Write the tags to the terminal and no tables, without Ray: for a few clips. It needs no
    --out."""

    json: bool = False
    """Write the results to standard output as JSON."""

    def __post_init__(self) -> None:
        if self.print and self.dry_run:
            raise OptionError("print", "does not go with --dry-run")
        if self.job.redo_entry is not None and (self.print or self.dry_run):
            raise OptionError("redo_entry", "does not go with --dry-run or --print")

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"out": ""} if given.get("print") else {}

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal

        if self.print:
            from pipelines.tagging.direct import tagged_rows

            n_clips, n_failed = terminal.show_tags(tagged_rows(self.job), self.json)
            over = n_failed > self.job.max_failed * n_clips
            return Exit.OVER_BUDGET if over else Exit.DONE
        if self.dry_run:
            from pipelines.tagging.preview import preview

            terminal.show_preview(preview(self.job), self.json)
            return Exit.DONE
        from pipelines.output.failed_clips import failed_in_run
        from pipelines.output.run_records import RunState
        from pipelines.storage.store import open_store
        from pipelines.tagging.run import tag

        record = tag(self.job, command)
        failed = failed_in_run(open_store(self.job.out), record)
        terminal.show_summary(record, failed, self.json)
        return Exit.OVER_BUDGET if record.state == RunState.OVER_BUDGET else Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Retag(Verb):
    """Tag from the embeddings that the tables hold: no recording is read or decoded.

    Needs an output of tag with embeddings, made by the same extractors, and no run at work on it.

    Leaves the rows of another model, as tag would write them, for each recording in the version
    that was tagged last: tag --model then finds these done. Without --model it makes the rows of
    the model that tagged last anew, with all that this version writes, such as events in an output
    that an earlier version began. Interrupted, the same command goes on.

    Example::

        python -m pipelines retag s3://tables --model models/mine
    """

    job: RetagJob

    json: bool = False
    """Write what was done to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.retagging.run import retag

        terminal.show_retagged(retag(self.job, command), self.json)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Status(Verb):
    """Tell what an output holds, how its runs went, what waits in it, and whether it is whole.

    Needs the output of tag; a run may be at work on it, here or elsewhere.

    Leaves it as it is. The last runs are listed from the oldest to the newest; of one that is at
    work it is told how far it is. Then, for each model: its clips, the newest of those that failed
    and why, and what is staged or not yet published.

    Example::

        python -m pipelines status s3://tables --fail-if-older 26h
    """

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    last: int = 10
    """Runs to tell of, at most: the newest ones."""

    watch: bool = False
    """While a run is at work tell how far it is, again every few seconds. Ctrl-C ends this, and not
    the run."""

    verify: Literal["bytes", "counts"] | None = field(default=None, metadata={"bare": "bytes"})
    """Read all files, compare each with its hash, and count all tables against the log: a single
    changed byte is told. --verify=counts is the quick way, which only counts. Damage is named, and
    ends with exit code 9."""

    fail_if_older: str | None = field(default=None, metadata={"metavar": "TIME"})
    """For alarms: end with exit code 10, and a line that says why, if the last complete run ended
    longer ago than this, such as 90m, 26h or 2d, or if the last run that ended was killed, failed,
    was interrupted, or was over its failure budget. Where several models are run, this holds for
    the last run of each."""

    json: bool = False
    """Write the status to standard output as JSON. It names all clips that failed."""

    def __post_init__(self) -> None:
        require_positive("last", self.last)
        if self.watch and self.json:
            raise OptionError("watch", "does not go with --json")
        if self.fail_if_older is not None:
            try:
                parse_duration(self.fail_if_older)
            except ValueError as error:
                raise OptionError("fail_if_older", "is a time such as 90m, 26h or 2d") from error

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import status_view
        from pipelines.output.status import MOST_FAILURES, status
        from pipelines.storage.store import open_store

        store = open_store(self.out)
        if self.watch:
            status_view.watch(store)
        longest = parse_duration(self.fail_if_older) if self.fail_if_older else None
        most = None if self.json else MOST_FAILURES
        found = status(store, self.verify, self.last, most, longest)
        status_view.show_status(found, self.json)
        if found.broken or any(model.broken for model in found.models):
            return Exit.DAMAGED
        if found.alarm is not None:
            raise StaleOutput(f"{self.out}: {found.alarm}")
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Demo(Verb):
    """Tag about a dozen synthesised recordings, or your own, and show what the tables answer.

    Needs nothing.

    Leaves the recordings in demo/audio, the tables in demo/tables and a page in demo/report.html,
    and shows queries on them.

    Example::

        python -m pipelines demo
    """

    audio: str | None = field(default=None, metadata={"positional": True})
    """Audio of your own: a file, a folder, a glob in quotation marks, or an s3:// prefix. Left out:
    recordings are made."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.demo.run import demo

        demo(self.audio)
        return Exit.DONE
