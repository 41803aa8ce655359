"""The model card: what a model is, how it was made, how well it does (design 5).

A model is a folder or URI that holds ``card.json`` and safetensors files. Reading a card verifies
the sha256 of every weight file. Nothing outside the folder is opened, nothing is unpickled. This
module needs no torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import fsspec

from tagger.errors import CommandError
from tagger.labels import Label
from tagger.logmel import FRONT_END

CARD_FORMAT: Final = 1
CARD_FILE: Final = "card.json"
BUNDLED: Final = Path(__file__).parent / "models" / "esc10"

HeadKind = Literal["attention", "lstm"]


@dataclass(frozen=True)
class ExtractorCard:
    """One fine-tuned VGGish: ``config`` holds the fields of ``vggish.VGGishConfig``."""

    name: str
    config: Mapping[str, Any]
    weights: str
    sha256: str


@dataclass(frozen=True)
class MemberCard:
    """One member of the ensemble: a head upon the named extractor's embeddings.

    ``config`` holds the fields of ``attention.AttentionConfig`` or ``baselines.LSTMConfig``.
    """

    extractor: str
    kind: HeadKind
    config: Mapping[str, Any]
    weights: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """A model's description; ``about`` is for people, the rest decides what it computes."""

    name: str
    labels: tuple[Label, ...]
    extractors: tuple[ExtractorCard, ...]
    members: tuple[MemberCard, ...]
    front_end: Mapping[str, Any] = field(default_factory=lambda: dict(FRONT_END))
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def model_id(self) -> str:
        """``<name>-<sha8>`` over everything that decides what the model computes."""
        decisive = {k: v for k, v in to_json(self).items() if k != "about"}
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


@dataclass(frozen=True)
class ModelFiles:
    """A verified model: its card and the bytes of its weight files by name."""

    card: Card
    weights: Mapping[str, bytes]


def to_json(card: Card) -> dict[str, Any]:
    """The content of ``card.json``."""
    return {
        "format": CARD_FORMAT,
        "name": card.name,
        "labels": [vars(label) for label in card.labels],
        "front_end": dict(card.front_end),
        "extractors": [vars(extractor) for extractor in card.extractors],
        "members": [vars(member) for member in card.members],
        "about": dict(card.about),
    }


def read_model(url: str | Path = BUNDLED) -> ModelFiles:
    """Read and verify the model at a folder or URI.

    Raises
    ------
    CommandError : a file is missing or unreadable, a hash is wrong, the card is malformed or made
        for another front end
    """
    url = str(url).rstrip("/")
    card = _parse(_read(url, CARD_FILE), url)
    weights = {}
    parts: list[ExtractorCard | MemberCard] = [*card.extractors, *card.members]
    for part in parts:
        data = weights[part.weights] = _read(url, part.weights)
        if (found := hashlib.sha256(data).hexdigest()) != part.sha256:
            raise CommandError(
                f"model {url}: {part.weights} has sha256 {found[:12]}…, the card says "
                f"{part.sha256[:12]}…; copy the model again from where it was published"
            )
    return ModelFiles(card, weights)


def _read(url: str, name: str) -> bytes:
    if not name or name != Path(name).name:
        raise CommandError(f"model {url}: the card names {name!r}, which is not a file beside it")
    try:
        with fsspec.open(f"{url}/{name}", "rb") as file:
            data: bytes = file.read()
    except (OSError, ValueError, ImportError) as error:
        raise CommandError(
            f"model {url}: cannot read {name} ({type(error).__name__}); --model takes a folder or "
            f"URI that holds {CARD_FILE} and its weight files"
        ) from error
    return data


def _parse(data: bytes, url: str) -> Card:
    try:
        content = json.loads(data)
        version = content["format"]
        if version != CARD_FORMAT:
            raise CommandError(
                f"model {url}: card format {version}, this tagger reads {CARD_FORMAT}; "
                "use the version of the tagger that made the model"
            )
        card = Card(
            name=content["name"],
            labels=tuple(Label(**label) for label in content["labels"]),
            extractors=tuple(ExtractorCard(**part) for part in content["extractors"]),
            members=tuple(MemberCard(**part) for part in content["members"]),
            front_end=content["front_end"],
            about=content["about"],
        )
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise CommandError(f"model {url}: {CARD_FILE} is not a model card ({error!r})") from error
    if card.front_end != FRONT_END:
        raise CommandError(f"model {url}: was trained with another front end than this tagger's")
    names = {extractor.name for extractor in card.extractors}
    if not card.members or not {member.extractor for member in card.members} <= names:
        raise CommandError(f"model {url}: its members do not name its extractors")
    return card
