"""What one clip may cost, and what a job may take of the cluster."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tagger.errors import CommandError

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

    def __post_init__(self) -> None:
        if self.cpus is not None:
            require_positive("--cpus", self.cpus)
        if self.gpus is not None and self.gpus < 0:
            raise CommandError("--gpus must be 0 or more")
