"""Errors that have a meaning outside the code that raises them.

    CommandError    the command cannot be carried out as given; one line for its author, exit code 2
      NoAudioError  its inputs hold no audio; exit code 3
      OptionError   an option, by name, has a value that it cannot have
    ClipError       one clip cannot be tagged; becomes a row of the ``failures`` table

Anything else is a defect or an outage and ends the job; what was staged by then is kept.
"""

from enum import StrEnum


class CommandError(ValueError):
    """A mistake in the command or its surroundings; the text says how to mend it."""


class NoAudioError(CommandError):
    """The inputs exist, but hold no audio; an exit code of its own tells schedulers."""


class OptionError(CommandError):
    """An option of a job or a configuration has a value that it cannot have.

    Parameters
    ----------
    option : name of the field; the command line says its flag instead
    problem : what is wrong, as the end of a sentence about the option
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(option, problem)  # all arguments, so that it pickles
        self.option = option
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.option} {self.problem}"


class Stage(StrEnum):
    """Where in the path of a clip it failed."""

    READ = "read"
    DECODE = "decode"
    MODEL = "model"


class Reason(StrEnum):
    """Why a clip failed. The list is closed: every failure has one of these reasons."""

    EMPTY = "empty"  # no bytes, or a container without a single sample
    UNSUPPORTED = "unsupported"  # not audio, or a codec that neither decoder knows
    DECODE_ERROR = "decode_error"  # audio, but broken before the first whole block
    NON_FINITE = "non_finite"  # samples that are NaN or infinite
    SILENT = "silent"  # no sample differs from zero
    TOO_LONG = "too_long"  # decodes to more hours than the limit
    CRASHED = "crashed"  # killed the process that decoded it, twice
    VANISHED = "vanished"  # listed, but gone when it was read
    CHANGED_DURING_RUN = "changed_during_run"  # another version than the one listed
    UNREADABLE = "unreadable"  # this one object may not be read
    TIMEOUT = "timeout"  # took longer than the time limit, twice
    OUT_OF_MEMORY = "out_of_memory"  # needed more memory than the limit, twice

    @property
    def final(self) -> bool:
        """Whether the clip's own bytes are the cause, so that another try cannot help."""
        return self not in _WORTH_ANOTHER_RUN


_WORTH_ANOTHER_RUN = frozenset(
    {
        Reason.VANISHED,
        Reason.CHANGED_DURING_RUN,
        Reason.UNREADABLE,
        Reason.TIMEOUT,
        Reason.OUT_OF_MEMORY,
    }
)


class ClipError(Exception):
    """One clip cannot be tagged.

    Parameters
    ----------
    reason : why, from the closed list
    detail : one line for a person; never holds credentials
    stage : where it happened
    """

    def __init__(self, reason: Reason, detail: str, stage: Stage = Stage.DECODE) -> None:
        super().__init__(reason, detail, stage)  # all arguments, so that it pickles
        self.reason = reason
        self.detail = detail
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.reason} at {self.stage}: {self.detail}"
