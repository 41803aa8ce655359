"""What one clip may cost, and what a job may take of the cluster."""

from dataclasses import dataclass

from tagger.configs import Precision, require_positive
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one clip may cost before it becomes a failure."""

    clip_timeout_s: float = 120.0
    """Longest time to decode a clip. A recording of several hours gets as much again for every
    hour."""

    max_hours: float = 24.0
    """Longest recording that is taken, as decoded."""

    max_hours_per_mb: float = 40.0
    """Most hours that a MB (10^6 bytes) of a file may decode to; one hour is always taken. Of the
    codecs that were measured, none packs a dead line more densely. Files that do are made to keep
    a job busy, such as a day in 300 kB."""

    clip_memory_mb: int = 1536
    """Memory of the process that decodes a clip."""

    def __post_init__(self) -> None:
        for name in ("clip_timeout_s", "max_hours", "max_hours_per_mb", "clip_memory_mb"):
            require_positive(name, getattr(self, name))

    def hours_of(self, n_bytes: int) -> float:
        """The longest recording that a file of that size may hold, in hours."""
        return min(self.max_hours, max(1.0, n_bytes / 1e6 * self.max_hours_per_mb))


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the job may take of the cluster; None: what the cluster offers."""

    cpus: int | None = None
    """Number of CPU workers. Left out: one for each CPU of this machine or of the Ray cluster, with
    the nodes that it may start as far as there is work for them."""

    gpus: int | None = None
    """Number of GPUs, which run the networks. Left out: those of the machine or cluster, with the
    nodes that it may start; 0 keeps the job on CPUs."""

    precision: Precision | None = None
    """Arithmetic of the extractors. Left out: bfloat16 on GPUs that compute in it, else float32.
    bfloat16 is several times as fast on CPUs that compute in it (AVX-512 BF16, AMX), and changes
    embeddings by some percent of their spread; a CPU that a measurement at its start finds no
    faster in it takes float32 and says so. The run's record counts the clips by what was taken."""

    gpus_per_actor: float = 1.0
    """Share of a GPU that each actor takes. With 0.5, two actors share every GPU, so that one
    computes while the other prepares its next batch."""

    extractor_batch: int | None = None
    """Patches (0.96 s of audio each) in one pass through an extractor. Left out: 128 on CPUs, 512
    on GPUs."""

    wait_for_nodes_s: float = 600.0
    """Longest wait for the first nodes of a cluster that starts nodes on demand."""

    def __post_init__(self) -> None:
        require_positive("wait_for_nodes_s", self.wait_for_nodes_s)
        if not 0.0 < self.gpus_per_actor <= 1.0:
            raise OptionError("gpus_per_actor", "must be a share of a GPU: above 0, at most 1")
        if self.extractor_batch is not None:
            require_positive("extractor_batch", self.extractor_batch)
        if self.cpus is not None:
            require_positive("cpus", self.cpus)
        if self.gpus is not None and self.gpus < 0:
            raise OptionError("gpus", "must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainResources:
    """Workers of a Ray Train run."""

    workers: int = 1
    """Workers of Ray Train. Each trains some of the networks, one after the other."""

    together: bool = False
    """All workers train every network together, each on its share of a batch."""

    use_gpus: bool = False
    """Give each worker a GPU."""

    cpus_per_worker: int = 1
    """CPUs of each worker, and threads that it computes with."""

    checkpoint_s: float = 30.0
    """Least time between two checkpoints, from which a job that was killed goes on. They fall
    between epochs."""

    def __post_init__(self) -> None:
        for name in ("workers", "cpus_per_worker"):
            require_positive(name, getattr(self, name))
