"""The model card: what a model is, how it was made, how well it does.

A model is a folder or URI that holds ``card.json`` and safetensors files. Reading a card verifies
the sha256 of every weight file. Nothing outside the folder is opened, nothing is unpickled. This
module needs no torch.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import fsspec

from tagger.arrays import DoubleArray
from tagger.calibration import Calibration
from tagger.card_parts import ExtractorCard, MemberCard, NoveltyCard, check_name
from tagger.errors import CommandError
from tagger.labels import Label, Labelling, LabelSet
from tagger.logmel import FRONT_END

CARD_FORMAT: Final = 2
CARD_FILE: Final = "card.json"
BUNDLED: Final = Path(__file__).parent / "models" / "esc10"

Read = Callable[[str, str], bytes]
"""Gives the bytes of a file of a model, from the model's folder or URI and the file's name."""

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Card:
    """A model's description; ``about`` is for people, the rest decides what it computes.

    A model to tag with has members and labels; one to start fine-tuning from has extractors alone.

    Attributes
    ----------
    name : letters, digits, ".", "_" and "-"
    labels : in the order of the heads' outputs
    extractors, members : in the order in which results are given
    front_end : the constants of ``tagger.logmel`` that the model was trained with
    labelling : whether its scores are those of one label a clip, or of several
    calibration : what makes its scores mean what they say, and from which on they are tags
    novelty : what tells that a clip is unlike all it was trained on; None: it cannot tell
    about : how it was made and how well it does: training data, split, metrics, versions

    Raises
    ------
    CommandError : on construction, where it describes no model that this tagger can run
    """

    name: str
    labels: tuple[Label, ...]
    extractors: tuple[ExtractorCard, ...]
    members: tuple[MemberCard, ...]
    front_end: Mapping[str, Any] = field(default_factory=lambda: dict(FRONT_END))
    labelling: Labelling = "one"
    calibration: Calibration | None = None
    novelty: NoveltyCard | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_labels()
        check_name(self.name)
        if self.labelling not in get_args(Labelling):
            raise CommandError(f"this tagger knows no labelling {self.labelling!r}")
        if self.front_end != FRONT_END:
            raise CommandError("made for another front end than this tagger's")
        extractors = [part.name for part in self.extractors]
        if len(set(extractors)) < len(extractors):
            raise CommandError("two extractors have the same name")
        needed = {part.extractor for part in self.members}
        if not extractors or not needed <= set(extractors) or bool(self.labels) != bool(needed):
            raise CommandError("its members do not name its extractors")

    def _check_labels(self) -> None:
        if not all(isinstance(label.name, str) for label in self.labels):
            raise TypeError("a label that is not text")
        if not all(isinstance(label.mid or "", str) for label in self.labels):
            raise TypeError("an identifier of a label that is not text")
        if self.labels or self.members:
            LabelSet(self.labels)
        if self.calibration and len(self.calibration.thresholds) != len(self.labels):
            raise CommandError("it has not as many thresholds as labels")

    @property
    def temperature(self) -> float:
        """What divides the logits of its scores; 1 where it is not calibrated."""
        return self.calibration.temperature if self.calibration else 1.0

    def least_scores(self, otherwise: float) -> float | DoubleArray:
        """The least score of a tag, per label (K,); a model without thresholds has none."""
        return self.calibration.least_scores if self.calibration else otherwise

    def none_of_these(self, novelty: float | None) -> bool | None:
        """Whether a clip is too strange for the labels, where its novelty is known."""
        if self.novelty is None or novelty is None:
            return None
        return novelty > self.novelty.limit

    def require_members(self) -> None:
        """Refuse a model that cannot tag.

        Raises
        ------
        CommandError : the model has extractors only
        """
        if not self.members:
            raise CommandError(
                f"model {self.name} holds extractors only and cannot tag: it is what "
                "fine-tuning starts from; tag with a model that has members"
            )

    @property
    def parts(self) -> "tuple[ExtractorCard | MemberCard | NoveltyCard, ...]":
        """Everything that has weights."""
        novelty = (self.novelty,) if self.novelty else ()
        return (*self.extractors, *self.members, *novelty)

    @cached_property
    def model_id(self) -> str:
        """``<name>-<sha8>`` over everything that decides what the model computes."""
        decisive = {k: v for k, v in to_json(self).items() if k != "about"}
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


@dataclass(frozen=True)
class ModelFiles:
    """A verified model: its card, and the bytes of its weight files by file name."""

    card: Card
    weights: Mapping[str, bytes]


OF_FORMAT_2: Final = {"labelling": "one", "calibration": None, "novelty": None}
"""What cards of format 1 lack, with what they say so. A card of format 2 has at least one that says
otherwise, and no other; so a model of format 1 keeps its ``model_id``."""


def to_json(card: Card) -> dict[str, Any]:
    """The content of ``card.json``."""
    added = {
        "labelling": card.labelling,
        "calibration": card.calibration and asdict(card.calibration),
        "novelty": card.novelty and asdict(card.novelty),
    }
    added = {name: value for name, value in added.items() if value != OF_FORMAT_2[name]}
    return {
        "format": CARD_FORMAT if added else 1,
        "name": card.name,
        "labels": [vars(label) for label in card.labels],
        "front_end": dict(card.front_end),
        "extractors": [vars(extractor) for extractor in card.extractors],
        "members": [vars(member) for member in card.members],
        **added,
        "about": dict(card.about),
    }


def read_model(url: str | Path = BUNDLED, read: Read | None = None) -> ModelFiles:
    """Read and verify the model at a folder or URI.

    Parameters
    ----------
    url : folder or URI of the model
    read : how to read a file of it; None: with fsspec, without retries

    Raises
    ------
    CommandError : a file is missing or unreadable, a hash is wrong, the card is malformed, of
        another format, or made for another front end
    """
    url = str(url).rstrip("/")
    read = read or read_file
    card = _parse(read(url, CARD_FILE), url)
    weights = {}
    for part in card.parts:
        data = weights[part.weights] = read(url, part.weights)
        if (found := hashlib.sha256(data).hexdigest()) != part.sha256:
            raise CommandError(
                f"model {url}: {part.weights} has sha256 {found[:12]}…, the card says "
                f"{part.sha256[:12]}…; copy the model again from where it was published"
            )
    return ModelFiles(card, weights)


def read_file(url: str, name: str) -> bytes:
    """The bytes of a file of the model at a folder or URI.

    Raises
    ------
    CommandError : it cannot be read
    """
    try:
        with fsspec.open(f"{url}/{name}", "rb") as file:
            data: bytes = file.read()
    except _unreadable() as error:
        raise CommandError(
            f"model {url}: cannot read {name} ({type(error).__name__}); a model is a folder or "
            f"URI that holds {CARD_FILE} and its weight files"
        ) from error
    return data


def _unreadable() -> tuple[type[Exception], ...]:
    """What files and object stores raise; imported only when something was raised."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    return OSError, ValueError, ImportError, ClientError, BotoCoreError


def _parse(data: bytes, url: str) -> Card:
    try:
        content = json.loads(data)
        version = content.pop("format")
        if version not in range(1, CARD_FORMAT + 1):
            raise CommandError(
                f"card format {version!r}, this tagger reads up to {CARD_FORMAT}; use the version "
                "of the tagger that made the model"
            )
        card = _card(**content)
        if to_json(card)["format"] != version:
            raise CommandError(f"a card of format {version} with what another format has")
        return card
    except CommandError as error:
        raise CommandError(f"model {url}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CommandError(f"model {url}: {CARD_FILE} is not a model card ({error!r})") from error


def _card(
    *,
    labels: Any,
    extractors: Any,
    members: Any,
    about: Any,
    calibration: Any = None,
    novelty: Any = None,
    **rest: Any,
) -> Card:
    """The card that a JSON object describes; raises whatever happens where it describes none."""
    return Card(
        labels=tuple(Label(**label) for label in labels),
        extractors=tuple(_part(ExtractorCard, **part) for part in extractors),
        members=tuple(_part(MemberCard, **part) for part in members),
        calibration=None if calibration is None else _calibration(**calibration),
        novelty=None if novelty is None else NoveltyCard(**novelty),
        about=dict(about),
        **rest,
    )


def _calibration(*, thresholds: Any, **rest: Any) -> Calibration:
    return Calibration(thresholds=tuple(thresholds), **rest)


def _part(of: Callable[..., _Part], /, *, config: Any, **rest: Any) -> _Part:
    return of(config=dict(config), **rest)
