"""What the jobs of the paper's tables and of the bundled model are told."""

from dataclasses import dataclass, field

from pipelines.runtime.limits import TrainResources
from pipelines.training.jobs import OnDataSet, check_local_model
from pipelines.training.specs import SCRATCH
from tagger.configs import require_positive
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class ReproduceJob(OnDataSet):
    """One run of ``reproduce``."""

    rows: tuple[str, ...] = field(default=(), metadata={"metavar": "ROW"})
    """Rows of the paper's tables, such as 2-all for Table 2's ensemble or 3-F for Table 3's system
    F. Left out: all that the data set and the start allow. A row that is not there is told with
    those that are."""

    setting: str = "paper"
    """Size of the networks and length of the training: paper as the paper has them, reduced for
    some hundred clips on a machine without a GPU."""

    start: str = SCRATCH
    """What extractors start from: scratch, or the folder or URI of converted VGGish weights."""

    seed: int = 0
    """Seed of everything that is drawn at random."""

    n_seeds: int = 1
    """Times that every network is trained, with the seeds --seed, --seed + 1 and so on. With three,
    the report tells differences between rows with intervals over folds and seeds. Pitch-shifted
    copies are drawn once, with the first seed."""

    resources: TrainResources = field(default_factory=TrainResources)
    """Resources."""

    def __post_init__(self) -> None:
        require_positive("n_seeds", self.n_seeds)
        if "bundled" in self.rows:
            raise OptionError("rows", "has no row bundled: the command bundle makes that model")


@dataclass(frozen=True, kw_only=True)
class BundleJob(OnDataSet):
    """One run of ``bundle``."""

    publish: str = field(metadata={"metavar": "FOLDER"})
    """Local folder to write the model to. Its last part is the model's name."""

    resources: TrainResources = field(default_factory=TrainResources)
    """Resources."""

    def __post_init__(self) -> None:
        check_local_model(self.publish)
