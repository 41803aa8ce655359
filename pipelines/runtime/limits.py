"""What one clip may cost, and what a job may take of the cluster."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tagger.errors import CommandError, OptionError

if TYPE_CHECKING:
    from tagger.tagging import Precision

PRECISIONS: Final = ("float32", "bfloat16")


def require_positive(flag: str, value: float) -> None:
    if not value > 0:
        raise CommandError(f"{flag} must be greater than 0")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one clip may cost before it becomes a failure.

    Attributes
    ----------
    clip_timeout_s : seconds of decoding per clip, and as many for every hour that it holds
    max_hours : decoded length of a recording
    memory_mb : memory of the process that decodes, in MiB
    """

    clip_timeout_s: float = 120.0
    max_hours: float = 24.0
    memory_mb: int = 1536

    def __post_init__(self) -> None:
        require_positive("--clip-timeout", self.clip_timeout_s)
        require_positive("--max-hours", self.max_hours)
        require_positive("--clip-memory-mb", self.memory_mb)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the job may take of the cluster; None: what the cluster offers.

    Attributes
    ----------
    cpus : CPU workers
    gpus : GPU actors; 0 keeps the job on CPUs
    precision : arithmetic of the extractors; None: bfloat16 on GPUs that compute in it
    """

    cpus: int | None = None
    gpus: int | None = None
    precision: "Precision | None" = None

    gpus_per_actor: float = 1.0
    """Share of a GPU that each actor takes. With 0.5, two actors share every GPU, so that one
    computes while the other prepares its next batch."""

    extractor_batch: int | None = None
    """Patches (0.96 s of audio each) in one pass through an extractor. Left out: 128 on CPUs, 512
    on GPUs."""

    wait_for_nodes_s: float = 600.0
    """Longest wait for the first nodes of a cluster that starts nodes on demand."""

    def __post_init__(self) -> None:
        require_positive("--wait-for-nodes", self.wait_for_nodes_s)
        if not 0.0 < self.gpus_per_actor <= 1.0:
            raise OptionError("gpus_per_actor", "must be a share of a GPU: above 0, at most 1")
        if self.extractor_batch is not None:
            require_positive("--extractor-batch", self.extractor_batch)
        if self.cpus is not None:
            require_positive("--cpus", self.cpus)
        if self.gpus is not None and self.gpus < 0:
            raise CommandError("--gpus must be 0 or more")
