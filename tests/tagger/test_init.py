"""The public Python API, and that importing the package costs nothing."""

import subprocess
import sys

import pytest

import tagger

PUBLIC = {
    "ClipError",
    "CommandError",
    "Moment",
    "Prediction",
    "Reason",
    "Result",
    "Tag",
    "Tagger",
}


def test_the_public_names():
    assert set(tagger.__all__) == PUBLIC
    assert tagger.__all__ == sorted(PUBLIC)
    assert all(isinstance(getattr(tagger, name), type) for name in PUBLIC)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="'tagger' has no attribute 'Taggar'"):
        tagger.Taggar  # noqa: B018


def test_torch_is_loaded_with_the_tagger_only():
    code = """
import sys, tagger
assert not {"torch", "numpy"} & set(sys.modules)
from tagger import ClipError
assert not {"torch", "numpy"} & set(sys.modules)
from tagger import Moment, Prediction, Result, Tag
assert "torch" not in sys.modules
from tagger import Tagger
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
