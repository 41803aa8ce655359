"""How a command ends tells a scheduler what to do next."""

import signal

import pytest

from pipelines.cli.exit_codes import Exit, exit_code
from pipelines.runtime.errors import ClusterLost, NodesMissing
from pipelines.runtime.signals import Interrupted
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from tagger.errors import CommandError, NoAudioError, OptionError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("x"), 1),
        (OSError("x"), 1),
        (RuntimeError("x"), 1),
        (CommandError("x"), 2),
        (OptionError("x", "y"), 2),
        (NoAudioError("x"), 3),
        (AccessDenied("x"), 5),
        (StoreUnavailable("x"), 6),
        (ClusterLost("x"), 7),
        (NodesMissing("x"), 8),
    ],
)
def test_each_kind_of_error_has_its_code(error, code):
    assert exit_code(error) == code


def test_interruptions_end_as_shells_have_it():
    assert Interrupted(signal.SIGINT).exit_code == Exit.INTERRUPTED
    assert Interrupted(signal.SIGTERM).exit_code == Exit.TERMINATED


def test_every_code_has_a_sentence():
    assert len({code.meaning for code in Exit}) == len(Exit)
    for code in Exit:
        assert code.meaning[0].isupper()
        assert code.meaning.endswith(".")
