"""The verbs that tag: ``tag``, ``status`` and ``demo``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.cli.exit_codes import Exit
from pipelines.cli.verb import Verb
from pipelines.tagging.job import TagJob
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Tag(Verb):
    """Tag a collection of audio into Parquet tables.

    Needs recordings, in whatever formats; a small model comes with the package. More than about a
    minute of work is done on Ray, which is started here unless RAY_ADDRESS names a cluster.

    Leaves the tables clips, tags, embeddings and failures below --out, with views.sql to query
    them. The same command tags only what is new or has changed, and goes on after an interruption.

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

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"out": ""} if given.get("print") else {}

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal

        if self.print:
            from pipelines.tagging.direct import tagged_rows

            terminal.show_tags(tagged_rows(self.job), self.json)
            return Exit.DONE
        if self.dry_run:
            from pipelines.tagging.preview import preview

            terminal.show_preview(preview(self.job), self.json)
            return Exit.DONE
        from pipelines.output.run_records import RunState
        from pipelines.tagging.run import tag

        record = tag(self.job, command)
        terminal.show_summary(record, self.json)
        return Exit.OVER_BUDGET if record.state == RunState.OVER_BUDGET else Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Status(Verb):
    """Tell what an output holds, what waits in it, and whether it is whole.

    Needs the output of tag; a run may be at work on it.

    Leaves it as it is. The runs are listed from the oldest to the newest, then, for each model, its
    clips, its failures by reason, and what is staged or not yet published.

    Example::

        python -m pipelines status tables/ --verify
    """

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    verify: bool = False
    """Count all tables against the log. Damage is named, and ends with exit code 9."""

    json: bool = False
    """Write the status to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.output.status import status
        from pipelines.storage.store import open_store

        found = status(open_store(self.out), self.verify)
        terminal.show_status(found, self.json)
        return Exit.DAMAGED if any(model.broken for model in found.models) else Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Demo(Verb):
    """Tag about a dozen synthesised recordings, or your own, and show what the tables answer.

    Needs nothing.

    Leaves the recordings in demo/audio and the tables in demo/tables, and shows queries on them.

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
