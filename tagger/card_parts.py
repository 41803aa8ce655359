"""The parts of a model card that have weight files of their own; see ``tagger.card``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from tagger.errors import CommandError

HeadKind = Literal["attention"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # also part of folder and file names
_WEIGHTS: Final = re.compile(r"[A-Za-z0-9_.-]+\.safetensors")  # beside the card, nowhere else
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> None:
    """CommandError for a name that cannot be part of names of folders and files."""
    if not _NAME.fullmatch(name):
        raise CommandError(f"{name!r} is no name of letters, digits, '.', '_' and '-'")


def check_weights(file: str, sha256: str) -> None:
    """CommandError for what is no weight file beside the card with its hash."""
    if not _WEIGHTS.fullmatch(file):
        raise CommandError(f"{file!r} is no safetensors file beside the card")
    if not _SHA256.fullmatch(sha256):
        raise CommandError(f"{sha256!r} is no sha256")


@dataclass(frozen=True)
class ExtractorCard:
    """One fine-tuned VGGish.

    Attributes
    ----------
    name : what members and tables call it
    config : the fields of ``configs.VGGishConfig``
    weights, sha256 : name of its weight file beside the card, and that file's hash

    Raises
    ------
    CommandError : on construction, where a name or a hash is malformed
    """

    name: str
    config: Mapping[str, Any]
    weights: str
    sha256: str

    def __post_init__(self) -> None:
        check_name(self.name)
        check_weights(self.weights, self.sha256)


@dataclass(frozen=True)
class MemberCard:
    """One member of the ensemble: a head upon the embeddings of an extractor.

    Attributes
    ----------
    extractor : name of the extractor
    kind : of head
    config : the fields of ``configs.AttentionConfig``
    weights, sha256 : name of its weight file beside the card, and that file's hash

    Raises
    ------
    CommandError : on construction, where the kind is unknown or a name or a hash is malformed
    """

    extractor: str
    kind: HeadKind
    config: Mapping[str, Any]
    weights: str
    sha256: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(HeadKind):
            raise CommandError(f"this tagger knows no head of the kind {self.kind!r}")
        check_weights(self.weights, self.sha256)


@dataclass(frozen=True)
class NoveltyCard:
    """How to tell that a clip is unlike all that the model was trained on (``tagger.novelty``).

    Attributes
    ----------
    weights, sha256 : name of the file beside the card, and that file's hash
    limit : greatest novelty of a clip that its tags are said of, in [0, 1]

    Raises
    ------
    CommandError : on construction, where the limit is none or a name or a hash is malformed
    """

    weights: str
    sha256: str
    limit: float

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise CommandError(f"a limit of novelty is a number from 0 to 1, not {self.limit!r}")
        check_weights(self.weights, self.sha256)
