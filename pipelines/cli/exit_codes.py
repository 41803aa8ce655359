"""The exit code of every way in which a command can end."""

from enum import IntEnum
from typing import Final, Self

from pipelines.runtime.errors import ClusterLost, NodesMissing
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from tagger.errors import CommandError, NoAudioError


class StaleOutput(Exception):  # noqa: N818
    """Somebody should look after an output: its last run is too old, or did not end well."""


class Exit(IntEnum):
    """How a command ended, for schedulers to tell apart; ``meaning`` says it in a sentence."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "Done."
    DEFECT = 1, "A defect of this program; `--verbose` shows the traceback."
    COMMAND = 2, "The command cannot be carried out as given; one line says how to mend it."
    NO_AUDIO = 3, "The inputs hold no audio."
    OVER_BUDGET = 4, "Done, but more clips failed than `--max-failed` allows."
    ACCESS_DENIED = 5, "A store refuses the credentials, or a folder may not be read or written."
    STORE_UNAVAILABLE = 6, "A store does not answer; start the same command again later."
    CLUSTER_LOST = (
        ClusterLost.exit_code,
        "The Ray cluster or a node of it was lost; start the same command again.",
    )
    NODES_MISSING = 8, "The Ray cluster did not bring what the job waited for."
    DAMAGED = 9, "Damage was found by `status --verify`, which names it."
    STALE = 10, "The last run is too old or did not complete, says `status --fail-if-older`."
    HUNG_UP = 129, "Interrupted by SIGHUP (its terminal was closed); what was done is kept."
    INTERRUPTED = 130, "Interrupted by SIGINT (Ctrl-C); what was done is kept."
    TERMINATED = 143, "Ended by SIGTERM; what was done is kept."


_CODES: Final[tuple[tuple[type[Exception], Exit], ...]] = (
    (NoAudioError, Exit.NO_AUDIO),
    (CommandError, Exit.COMMAND),
    (AccessDenied, Exit.ACCESS_DENIED),
    (StoreUnavailable, Exit.STORE_UNAVAILABLE),
    (ClusterLost, Exit.CLUSTER_LOST),
    (NodesMissing, Exit.NODES_MISSING),
    (StaleOutput, Exit.STALE),
)


def exit_code(error: Exception) -> Exit:
    """The code of a command that ended with ``error``; what nobody foresaw is a defect."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.DEFECT)
