"""Tagging: from patches to embeddings, predictions and tags (paper sections 3.4, 4.1, 4.2).

    tagger = Tagger.load()                      # the bundled model
    result = tagger.tag("recording.flac")
    result.tags[0].tag, result.tags[0].score

Conventions: patches are (n, 96, 64) float32; the embeddings of a clip are (n_extractors, n, 128)
float32, extractors in the order of the card; K is the number of classes; times are seconds in the
original recording.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
import torch
from torch import Tensor

from tagger import audio, ensemble, segments
from tagger.arrays import FloatArray
from tagger.attention import MultiLevelAttention
from tagger.card import BUNDLED, Card, ModelFiles, read_model
from tagger.checkpoint import build
from tagger.logmel import stream_patches
from tagger.schema import EMBEDDING_SIZE
from tagger.vggish import VGGish
from tagger.winograd import FastVGGish

Precision = Literal["float32", "bfloat16"]

EXTRACTOR_BATCH = 128  # patches a pass through an extractor
HEAD_BATCH = 1024  # bags a pass through a head


@dataclass(frozen=True)
class Tag:
    """One predicted tag; ``score`` is its share of the ensemble's probability."""

    rank: int
    tag: str
    mid: str | None
    score: float


@dataclass(frozen=True)
class Prediction:
    """What the ensemble says of one clip.

    Attributes
    ----------
    scores : (K,) float32, sums to 1: mean over bags, then geometric mean over members
    bag_scores : (n_bags, K) float32, geometric mean over members of each bag; empty when the
        members' bags differ in size
    attention : per member (n_bags, n_levels, n_segments, K) float32, the weights p
    """

    scores: FloatArray
    bag_scores: FloatArray
    attention: tuple[FloatArray, ...]


@dataclass(frozen=True)
class Moment:
    """One tag of one bag.

    ``attention`` has a weight per segment of the bag and sums to 1: the mean over members and
    levels, the copies of a segment in a repeated tail taken together.
    """

    bag: int
    start_s: float
    end_s: float
    tag: str
    score: float
    attention: FloatArray


@dataclass(frozen=True)
class Result:
    """Everything about one tagged recording.

    Attributes
    ----------
    embeddings : per extractor (n_segments, 128) float32
    start_s, end_s : (n_segments,) float64, where each segment lies in the recording
    """

    signal: audio.Signal
    tags: tuple[Tag, ...]
    embeddings: dict[str, FloatArray]
    start_s: segments.TimeArray
    end_s: segments.TimeArray
    timeline: tuple[Moment, ...]
    prediction: Prediction


def pick_device() -> str:
    """``cuda`` where torch sees a GPU (Ray shows an actor the ones it was given), else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_precision(device: str) -> Precision:
    """``bfloat16`` on GPUs that compute in it, else ``float32`` (see ``for_inference``)."""
    on_gpu = device == "cuda" and torch.cuda.is_bf16_supported()
    return "bfloat16" if on_gpu else "float32"


def for_inference(
    network: VGGish, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """An extractor as it is fastest: embeddings (n, 128) of patches (n, 96, 64) on its device.

    float32 on a CPU is ``FastVGGish``; what else was tried is in ``benchmarks/embedding.py``.
    """
    if device.type == "cpu" and dtype == torch.float32:
        return FastVGGish(network)
    network = network.to(device, dtype)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Tagger:
    """A model ready to tag.

    Parameters
    ----------
    files : a verified model
    device : ``cpu`` or ``cuda``
    precision : arithmetic of the extractors; heads always run in float32
    """

    def __init__(
        self, files: ModelFiles, device: str = "cpu", precision: Precision = "float32"
    ) -> None:
        networks = build(files)
        self.card: Card = files.card
        self.device = torch.device(device)
        self.dtype = getattr(torch, precision)
        self.extractors = [
            for_inference(network, self.device, self.dtype)
            for network in networks.extractors.values()
        ]
        self.heads = [head.to(self.device) for head in networks.heads]
        names = list(networks.extractors)
        self._extractor_of = [names.index(member.extractor) for member in self.card.members]

    @classmethod
    def load(
        cls, url: str | Path = BUNDLED, device: str = "cpu", precision: Precision = "float32"
    ) -> "Tagger":
        """The model at a folder or URI; CommandError says what is wrong with it."""
        files = read_model(url)
        files.card.require_members()
        return cls(files, device, precision)

    @torch.inference_mode()
    def embed(self, patches: FloatArray, at_once: int = EXTRACTOR_BATCH) -> FloatArray:
        """Embeddings (n_extractors, n, 128) float32 of patches (n, 96, 64).

        Parameters
        ----------
        at_once : patches a pass, about: all passes are of the same size
        """
        out = np.empty((len(self.extractors), len(patches), EMBEDDING_SIZE), np.float32)
        n_passes = max(len(patches) > 0, round(len(patches) / at_once))
        for start, end in pairwise(np.linspace(0, len(patches), n_passes + 1, dtype=int)):
            part = slice(start, end)
            batch = torch.tensor(patches[part], dtype=self.dtype, device=self.device)
            for network, result in zip(self.extractors, out, strict=True):
                result[part] = network(batch).float().cpu().numpy()
        return out

    @torch.inference_mode()
    def predict(self, embeddings: Sequence[FloatArray]) -> list[Prediction]:
        """A prediction per clip, from the clips' embeddings (n_extractors, n_segments, 128)."""
        if not embeddings:
            return []
        members = [
            list(self._explain(head, [clip[which] for clip in embeddings]))
            for head, which in zip(self.heads, self._extractor_of, strict=True)
        ]
        return [_combine(clip) for clip in zip(*members, strict=True)]

    def _explain(
        self, head: MultiLevelAttention, clips: Sequence[FloatArray]
    ) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Per clip one member's bag probabilities and attention weights."""
        indices = [segments.bags(len(clip), head.config.n_segments) for clip in clips]
        bags = np.concatenate([clip[index] for clip, index in zip(clips, indices, strict=True)])
        parts = [
            self._explain_bags(head, part)
            for part in torch.split(torch.from_numpy(bags), HEAD_BATCH)
        ]
        probabilities = np.concatenate([probability for probability, _ in parts])
        attention = np.concatenate([weights for _, weights in parts])
        ends = np.cumsum([len(index) for index in indices])[:-1]
        return zip(np.split(probabilities, ends), np.split(attention, ends), strict=True)

    def _explain_bags(
        self, head: MultiLevelAttention, bags: Tensor
    ) -> tuple[FloatArray, FloatArray]:
        logits, attention = head.explain(bags.to(self.device))
        return logits.softmax(-1).cpu().numpy(), attention.cpu().numpy()

    def tags(self, scores: FloatArray, top_k: int = 3, threshold: float = 0.0) -> tuple[Tag, ...]:
        """The best tags of (K,) scores, best first."""
        best = ensemble.top_k(scores, top_k, threshold)
        return tuple(
            Tag(rank, self.card.labels[k].name, self.card.labels[k].mid, float(scores[k]))
            for rank, k in enumerate(best, 1)
        )

    def timeline(
        self,
        prediction: Prediction,
        times: tuple[segments.TimeArray, segments.TimeArray],
        top_k: int = 3,
        threshold: float = 0.0,
    ) -> tuple[Moment, ...]:
        """The best tags of each bag; empty when the members' bags differ in size.

        Parameters
        ----------
        times : start and end of each segment, (n_segments,) seconds
        """
        start_s, end_s = times
        if not len(prediction.bag_scores):
            return ()
        weights = np.mean([member.mean(1) for member in prediction.attention], axis=0)
        bags = segments.bags(len(start_s), weights.shape[1])
        return tuple(
            Moment(
                bag,
                float(start_s[bags[bag, 0]]),
                float(end_s[bags[bag].max()]),
                self.card.labels[k].name,
                float(scores[k]),
                np.bincount(bags[bag] - bags[bag, 0], weights[bag, :, k]).astype(np.float32),
            )
            for bag, scores in enumerate(prediction.bag_scores)
            for k in ensemble.top_k(scores, top_k, threshold)
        )

    def tag_waveform(
        self, samples: FloatArray, sample_rate_hz: int, top_k: int = 3, threshold: float = 0.0
    ) -> Result:
        """Tag (n,) or (n, channels) samples; the same as ``tag`` of a file that holds them."""
        recording = io.BytesIO()
        soundfile.write(recording, samples, sample_rate_hz, format="W64", subtype="FLOAT")
        return self.tag(recording, top_k, threshold)

    def tag(
        self, source: bytes | str | Path | BinaryIO, top_k: int = 3, threshold: float = 0.0
    ) -> Result:
        """Tag one recording: a path, its bytes, or a seekable binary file.

        Raises
        ------
        ClipError : the recording cannot be tagged, with the reason
        OSError : it cannot be read
        """
        signal, blocks = audio.load(source)
        embeddings = np.concatenate([self.embed(part) for part in stream_patches(blocks)], axis=1)
        return self._result(signal, embeddings, top_k, threshold)

    def _result(
        self, signal: audio.Signal, embeddings: FloatArray, top_k: int, threshold: float
    ) -> Result:
        (prediction,) = self.predict([embeddings])
        times = segments.segment_times(
            embeddings.shape[1], signal.content_start_s, signal.content_end_s
        )
        return Result(
            signal,
            self.tags(prediction.scores, top_k, threshold),
            {part.name: rows for part, rows in zip(self.card.extractors, embeddings, strict=True)},
            *times,
            self.timeline(prediction, times, top_k, threshold),
            prediction,
        )


def _combine(members: Sequence[tuple[FloatArray, FloatArray]]) -> Prediction:
    """The ensemble's prediction of one clip from each member's (bag probabilities, attention)."""
    scores = ensemble.geometric_mean(
        np.stack([ensemble.clip_mean(probabilities) for probabilities, _ in members])
    )
    shapes = {weights.shape[2] for _, weights in members}
    bag_scores = (
        ensemble.geometric_mean(np.stack([probabilities for probabilities, _ in members]))
        if len(shapes) == 1
        else np.empty((0, len(scores)), np.float32)
    )
    return Prediction(scores, bag_scores, tuple(weights for _, weights in members))
