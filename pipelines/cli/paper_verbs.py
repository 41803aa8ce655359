"""The verbs that make what the paper, and this package, publish: ``reproduce`` and ``bundle``."""

from dataclasses import dataclass

from pipelines.cli.exit_codes import Exit
from pipelines.cli.terminal import show_figures
from pipelines.cli.verb import Verb
from pipelines.paper.jobs import BundleJob, ReproduceJob


@dataclass(frozen=True, kw_only=True)
class Reproduce(Verb):
    """Train and measure the systems of the paper's Tables 2, 3 and 4, beside the paper's figures.

    Needs a data set (fetch), and the result of weights for what starts from published weights.

    Leaves report/report.md in the work folder. It runs all steps by itself. A repeated command,
    also with other rows, goes on with what is there.

    Example::

        python -m pipelines reproduce FSDKaggle2018 --work work --start vggish --rows 3-F 4-6
    """

    job: ReproduceJob

    def run(self, command: list[str]) -> Exit:
        from pipelines.paper import reproduce

        show_figures(reproduce.run(self.job, command).metrics)
        return Exit.DONE


@dataclass(frozen=True, kw_only=True)
class Bundle(Verb):
    """Make the small model that the package holds, by its recipe, from the recordings of ESC-10.

    Needs ESC-10 or ESC-50 in a local folder.

    Leaves the model in the folder of --publish, with the figures of its cross-validation. A
    repeated command goes on where it was stopped.

    Example::

        python -m pipelines bundle ESC-50 --layout esc10 --work work --publish models/esc10
    """

    job: BundleJob

    def run(self, command: list[str]) -> Exit:
        from pipelines.paper import bundled_model

        show_figures(bundled_model.run(self.job, command).metrics)
        return Exit.DONE
