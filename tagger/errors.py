"""Errors that have a meaning outside the code that raises them.

    CommandError    what was asked for cannot be done; one line for whoever asked
      NoAudioError  the inputs hold no audio
      OptionError   an option, by name, has a value that it cannot have
    ClipError       one clip cannot be tagged; the reason is from a closed list

Anything else is a defect or an outage.
"""

from enum import StrEnum


class CommandError(ValueError):
    """A mistake in what was asked for or its surroundings; the text says how to mend it."""


class NoAudioError(CommandError):
    """The inputs exist, but hold no audio."""


class OptionError(CommandError):
    """A field of a configuration has a value that it cannot have.

    Parameters
    ----------
    option : name of the field; whoever knows the option by another name can put that instead
    problem : what is wrong, as the end of a sentence about the option: "must be greater than 0"
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


class Reason(StrEnum):
    """Why a clip failed. The list is closed: every failure has one of these reasons."""

    EMPTY = "empty"  # no bytes, or a container without a single sample
    UNSUPPORTED = "unsupported"  # not audio, or a codec that neither decoder knows
    DECODE_ERROR = "decode_error"  # audio, but broken before the first whole block
    NON_FINITE = "non_finite"  # samples that are NaN or infinite
    SILENT = "silent"  # all samples are the same
    TOO_LONG = "too_long"  # decodes to more hours than the limit
    CRASHED = "crashed"  # killed the process that decoded it, twice
    VANISHED = "vanished"  # listed, but gone when it was read
    CHANGED_DURING_RUN = "changed_during_run"  # another version than the one listed
    UNREADABLE = "unreadable"  # this one object may not be read
    REFUSED = "refused"  # a manifest leads to where the command does not let it
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
        Reason.REFUSED,
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
