"""Audio tagging after Xu, Smit and Kurimo (DCASE 2018): VGGish and multi-level attention.

    from tagger import Tagger
    result = Tagger.load().tag("recording.flac")

``__all__`` is the public Python API. Importing the package is cheap: torch is loaded when one of
the names that need it is first used.
"""

from typing import TYPE_CHECKING, Any

from tagger.errors import ClipError, CommandError, Reason

if TYPE_CHECKING:
    from tagger.tagging import Moment, Prediction, Result, Tag, Tagger

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
        """The names that need torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tagger import tagging

        return getattr(tagging, name)
