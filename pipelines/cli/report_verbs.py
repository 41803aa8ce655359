"""The verb that makes a page: ``report``."""

from dataclasses import dataclass

from pipelines.cli.exit_codes import Exit
from pipelines.cli.verb import Verb
from pipelines.reporting.job import ReportJob


@dataclass(frozen=True, kw_only=True)
class Report(Verb):
    """Make a page to look at an output, hear its clips, and say where the tagger is wrong.

    Needs the output of tag. Clips whose recordings are still where they were have pictures and
    sounds.

    Leaves the output as it is, and one HTML file that needs no network and no server, or a folder.
    The page shows figures and, for each tag, the best clips, the most doubtful and some at random.
    What is answered there is saved as a CSV, which prepare takes to train a better model.

    Example::

        python -m pipelines report tables/ --out report.html
    """

    job: ReportJob

    json: bool = False
    """Write what was done to standard output as JSON."""

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli import terminal
        from pipelines.reporting.run import report

        terminal.show_reported(report(self.job), self.json)
        return Exit.DONE
