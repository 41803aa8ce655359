"""Models between disk and torch: a card and safetensors files, never pickle.

The card decides the networks, the files hold their weights. Loading allocates nothing on the word
of a card alone: networks are built without memory and then take the tensors of the files.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from tagger.attention import MultiLevelAttention
from tagger.calibration import Calibration
from tagger.card import CARD_FILE, Card, ModelFiles, to_json
from tagger.card_parts import ExtractorCard, MemberCard, NoveltyCard
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.labels import Label, Labelling
from tagger.novelty import LIMIT, Novelty
from tagger.vggish import VGGish

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True)
class Ensemble:
    """The networks of a model, in evaluation mode, in the order of the card.

    Attributes
    ----------
    extractors : by name
    heads : one per member
    novelty : what tells strange clips; None: the model cannot tell
    """

    extractors: Mapping[str, VGGish]
    heads: Sequence[MultiLevelAttention]
    novelty: Novelty | None


def build(files: ModelFiles) -> Ensemble:
    """The networks that a verified model describes, float32 on the CPU.

    Raises
    ------
    CommandError : weights that do not fit the card or are not finite, labels that do not fit the
        heads, a file of novelty that is of another model
    """
    card = files.card
    n_classes = len(card.labels)
    return Ensemble(
        {part.name: _built(_extractor, part, files) for part in card.extractors},
        [_built(partial(_head, n_classes, card.labelling), part, files) for part in card.members],
        _novelty(files),
    )


def save(
    folder: Path,
    name: str,
    labels: Sequence[Label],
    extractors: Mapping[str, VGGish],
    heads: Sequence[tuple[str, MultiLevelAttention]],
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
    calibration: Calibration | None = None,
    novelty: Novelty | None = None,
) -> Card:
    """Write a model: one safetensors file per network and for novelty, then ``card.json``.

    Parameters
    ----------
    folder : made if need be; files of the same names are overwritten
    name, labels, about, calibration : as on ``Card``
    extractors : by name
    heads : per member the name of its extractor and its head; all of one labelling, the model's
    dtype : how weight matrices are stored; float16 halves the files (loading gives float32 either
        way). Biases and statistics, which may leave float16's range, stay as they are.
    novelty : what tells strange clips, with the usual limit

    Raises
    ------
    CommandError : they make no valid card
    """
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write, folder, dtype)
    extractor_cards = [
        ExtractorCard(key, _plain(network.config), *write(f"extractor-{key}", network))
        for key, network in extractors.items()
    ]
    member_cards = [
        MemberCard(key, "attention", _plain(head.config), *write(f"head-{i}-{key}", head))
        for i, (key, head) in enumerate(heads)
    ]
    card = Card(
        name,
        tuple(labels),
        tuple(extractor_cards),
        tuple(member_cards),
        labelling=heads[0][1].labelling if heads else "one",
        calibration=calibration,
        novelty=_write_novelty(folder, novelty) if novelty else None,
        about=about,
    )
    text = json.dumps(to_json(card), indent=2, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    return card


def _extractor(config: Mapping[str, Any]) -> VGGish:
    return VGGish(VGGishConfig(**config))


def _head(n_classes: int, labelling: Labelling, config: Mapping[str, Any]) -> MultiLevelAttention:
    return MultiLevelAttention(n_classes, AttentionConfig(**config), labelling)


def _novelty(files: ModelFiles) -> Novelty | None:
    card = files.card
    if card.novelty is None:
        return None
    try:
        return Novelty.from_bytes(files.weights[card.novelty.weights], len(card.extractors))
    except CommandError as error:
        raise CommandError(f"model {card.name}: {card.novelty.weights}: {error}") from error


def _built(
    make: Callable[[Mapping[str, Any]], _Network],
    part: ExtractorCard | MemberCard,
    files: ModelFiles,
) -> _Network:
    """A network with its weights, in evaluation mode.

    It is made on torch's "meta" device, so that a card with absurd numbers allocates nothing.
    """
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in part.config.items()}
    try:
        with torch.device("meta"):
            network = make(config)
        tensors = load_safetensors(files.weights[part.weights])
        full = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        network.load_state_dict(full, assign=True)
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        last = str(error).splitlines()[-1].strip()
        raise CommandError(
            f"model {files.card.name}: {part.weights} does not fit the card ({last})"
        ) from error
    for key, value in full.items():
        if not _is_finite(value):
            raise CommandError(
                f"model {files.card.name}: {part.weights} holds numbers in {key} that are not "
                "finite, and would tag nothing: take another copy, or train it again"
            )
    return network.eval()


def _is_finite(value: Tensor) -> bool:
    """Whether all numbers are; least and greatest tell, 13 times as fast as looking at each."""
    return value.numel() == 0 or all(map(math.isfinite, map(float, value.aminmax())))


def _write(folder: Path, dtype: torch.dtype, stem: str, network: nn.Module) -> tuple[str, str]:
    """File name and sha256 of a network's weights, written to the folder."""
    tensors = {
        key: (value.to(dtype) if value.ndim > 1 else value).detach().contiguous()
        for key, value in network.state_dict().items()
    }
    return _written(folder, stem, save_safetensors(tensors))


def _write_novelty(folder: Path, novelty: Novelty) -> NoveltyCard:
    return NoveltyCard(*_written(folder, "novelty", novelty.to_bytes()), LIMIT)


def _written(folder: Path, stem: str, data: bytes) -> tuple[str, str]:
    """File name and sha256 of a safetensors file, written to the folder."""
    file = f"{stem}.safetensors"
    (folder / file).write_bytes(data)
    return file, hashlib.sha256(data).hexdigest()


def _plain(config: VGGishConfig | AttentionConfig) -> dict[str, Any]:
    """A configuration as JSON has it: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain
