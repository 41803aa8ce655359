"""Errors cross process boundaries whole, and say of themselves what they are."""

import pickle

import pytest

from tagger.errors import ClipError, CommandError, OptionError, Reason, Stage


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ClipError(Reason.EMPTY, "no samples", Stage.READ), "empty at read: no samples"),
        (OptionError("batch_size", "must be greater than 0"), "batch_size must be greater than 0"),
        (CommandError("no such folder"), "no such folder"),
    ],
)
def test_errors_survive_pickling(error, text):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), vars(again), str(again)) == (type(error), vars(error), text)


def test_only_what_the_bytes_cause_is_final():
    passing = {
        "vanished",
        "changed_during_run",
        "unreadable",
        "refused",
        "timeout",
        "out_of_memory",
    }
    assert {str(reason) for reason in Reason if not reason.final} == passing
