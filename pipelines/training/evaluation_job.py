"""What ``evaluate`` is told, and what it writes where a model is to be published."""

from dataclasses import dataclass, field

from pipelines.storage.uris import is_local
from pipelines.training.jobs import InWorkFolder, check_name
from tagger.errors import CommandError, OptionError


@dataclass(frozen=True, kw_only=True)
class PublishJob:
    """What ``evaluate`` writes where a model is to be published."""

    folder: str
    """Local folder of the model."""

    name: str
    """The model's name on its card."""

    extractors: tuple[str, ...] = ()
    """Extractors whose members to publish; empty: those of the split all where there are any, else
    all that were evaluated."""

    float16: bool = False
    """Store the weights in float16."""

    command: tuple[str, ...] = ()
    """Verb and flags of the command that made the model, for the card."""

    notes: dict[str, str] = field(default_factory=dict)
    """What else the card is to tell."""

    def __post_init__(self) -> None:
        check_local_model(self.folder)


def member(text: str) -> tuple[str, str]:
    """A (head, extractor) pair from ``HEAD:EXTRACTOR``."""
    head, separator, extractor = text.partition(":")
    if not separator:
        raise OptionError("members", f"takes pairs HEAD:EXTRACTOR, not {text}")
    return head, extractor


@dataclass(frozen=True, kw_only=True)
class EvaluateJob(InWorkFolder):
    """One run of ``evaluate``: one ensemble, all its members together."""

    name: str
    """Name to give to the evaluation in the work folder; also the name of a published model."""

    members: tuple[tuple[str, str], ...] = field(
        metadata={"metavar": "HEAD:EXTRACTOR", "parse": member}
    )
    """Members of the ensemble: heads upon extractors of the work folder, such as F:mine B:mine.
    Those that were trained for the same test clips form one ensemble. The head named classifier is
    the extractor's own. Of members of folds and of all clips together the former measure and
    calibrate the latter, which are published."""

    precision: float | None = None
    """Share of the tags of each label, from 0 to 1, that shall be right: its threshold is the
    lowest that reaches this. Labels that do not are named, and never tags. Left out: best F1."""

    publish: PublishJob | None = None
    """The model to write, if any."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.members:
            raise OptionError("members", "must name at least one")
        if self.precision is not None and not 0 < self.precision <= 1:
            raise OptionError("precision", "must be above 0, and 1 at most")


def check_local_model(folder: str) -> None:
    """CommandError for a folder of a model to write that is not on this machine."""
    if not is_local(folder):
        raise CommandError(f"{folder}: a model is written to a local folder; copy it from there")
