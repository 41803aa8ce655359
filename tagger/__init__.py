"""Audio tagging after Xu, Smit and Kurimo (DCASE 2018): VGGish and multi-level attention.

    from tagger import Tagger
    result = Tagger.load().tag("recording.flac")

``__all__`` is the public Python API. Importing the package is cheap: numpy and torch are loaded
when one of the names that need them is first used. ``PAPER.md`` leads from each section of the
paper to its module.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tagger.errors import ClipError, CommandError, Reason

if TYPE_CHECKING:
    from tagger.results import Moment, Prediction, Result, Tag
    from tagger.tagging import Tagger

__version__ = "0.1.0"

__all__ = [
    "ClipError",
    "CommandError",
    "Moment",
    "Prediction",
    "Reason",
    "Result",
    "Tag",
    "Tagger",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The names whose modules are loaded at their first use."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "tagger.tagging" if name == "Tagger" else "tagger.results"
        return getattr(import_module(module), name)
