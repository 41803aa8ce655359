"""What can go wrong with the Ray cluster under a job, apart from the job itself.

Both end the job with what it has done kept; the command line has an exit code for each.
"""

from typing import Final

from pipelines.storage.errors import AccessDenied, StoreUnavailable
from tagger.errors import CommandError


class ClusterLost(RuntimeError):  # noqa: N818
    """The Ray cluster, or a node that the job needed, went away; the same command goes on."""

    exit_code: Final = 7


class NodesMissing(RuntimeError):  # noqa: N818
    """The cluster did not bring the nodes, CPUs or GPUs that the job waited for."""


NO_DEFECTS: Final = (CommandError, AccessDenied, StoreUnavailable, ClusterLost, NodesMissing)
"""What ends a job and is told in one line, on the terminal and in the record of the run.

Of anything else the record keeps the whole traceback.
"""
