"""What can go wrong with the Ray cluster under a job, apart from the job itself.

Both end the job with what it has done kept; the command line has an exit code for each.
"""

from typing import Final


class ClusterLost(RuntimeError):  # noqa: N818
    """The Ray cluster, or a node that the job needed, went away; the same command goes on."""

    exit_code: Final = 7


class NodesMissing(RuntimeError):  # noqa: N818
    """The cluster did not bring the nodes, CPUs or GPUs that the job waited for."""
