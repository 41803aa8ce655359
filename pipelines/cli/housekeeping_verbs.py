"""The verbs that keep an output in order: ``forget``, ``compact`` and ``rebuild-log``."""

from dataclasses import dataclass

from pipelines.cli.exit_codes import Exit
from pipelines.cli.verb import Verb
from pipelines.housekeeping.jobs import CompactJob, ForgetJob, RebuildLogJob


@dataclass(frozen=True, kw_only=True)
class Forget(Verb):
    """Erase recordings from an output, for good, or retire a model.

    Needs the output of tag, with no run at work on it.

    Leaves tables, log and records without the recordings, and a keyed hash of each name, by which
    the next runs know what not to tag again. Interrupted, it is completed by the next forget,
    compact or tag. Copies elsewhere and earlier versions that a bucket keeps are not touched.

    Example::

        python -m pipelines forget s3://tables s3://archive/2026/a.wav s3://archive/2026/b.wav
    """

    job: ForgetJob

    json: bool = False
    """Write what was done to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.housekeeping.forget import forget

        terminal.show_forgotten(forget(self.job), self.json)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Compact(Verb):
    """Merge the many small table files that nightly runs leave into files of about 256 MB.

    Needs the output of tag, with no run at work on it.

    Leaves the same rows in fewer files, and a log of as few entries, which the next run reads in
    less time. A merged file lies in the run_date of its last run. Interrupted, it is completed by
    the next compact, forget or tag. For a moment readers miss the rows that change files; they
    never see a row twice.

    Example::

        python -m pipelines compact s3://tables
    """

    job: CompactJob

    json: bool = False
    """Write what was done to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.housekeeping.compact import compact

        terminal.show_compacted(compact(self.job), self.json)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class RebuildLog(Verb):
    """Make the log of an output anew from its tables, where it is lost or damaged.

    Needs the tables of an output of tag, with no run at work on it.

    Leaves entries that can be read as they are, and makes the others from their table files, and
    _output.json from the records of the runs, or as far as the tables tell. A line says what cannot
    be made. Nothing is deleted: damaged files, and table files that are not complete, are moved to
    below _damaged, and their clips are done again by the next tag. Files that are there now count
    as right from now on. Interrupted, the same command goes on.

    Example::

        python -m pipelines rebuild-log s3://tables
    """

    job: RebuildLogJob

    json: bool = False
    """Write what was done to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.housekeeping.rebuild_log import rebuild

        report = rebuild(self.job)
        terminal.show_rebuilt(report, self.json)
        return Exit.DAMAGED if any(model.broken for model in report.models) else Exit.DONE
