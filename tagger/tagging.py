"""Tagging: from patches to embeddings, predictions and tags (paper sections 3.4, 4.1, 4.2).

    tagger = Tagger.load()                      # the bundled model
    result = tagger.tag("recording.flac")
    result.tags[0].tag, result.tags[0].score
    tagger.tag_waveform(samples, 44_100)        # an array (n,) or (n, channels)

Conventions: patches are (n, 96, 64) float32; the embeddings of a clip are (n_extractors, n, 128)
float32, extractors in the order of the card; K is the number of classes; times are seconds in the
original recording. Tags are the ``top_k`` best of at least ``threshold``, a score in [0, 1]; left
out, it is that of each label on the card, or 0 where the card has none.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tagger import audio, ensemble, segments
from tagger.arrays import FloatArray
from tagger.attention import MultiLevelAttention
from tagger.calibration import CARD
from tagger.card import BUNDLED, Card, ModelFiles, read_model
from tagger.checkpoint import build
from tagger.configs import Precision, require_positive
from tagger.devices import for_inference
from tagger.heard import Heard, joined, texture
from tagger.logmel import stream_patches
from tagger.prediction import probabilities
from tagger.readout import Readout
from tagger.results import Prediction, Result
from tagger.samples import recording_of
from tagger.schema import EMBEDDING_SIZE

EXTRACTOR_BATCH: Final = {"cpu": 128, "cuda": 512}
"""Patches that pass through an extractor together. On CPUs no other was faster; on an H100 it gives
96 % of what 2048 do, in 1.0 GiB for 3.6 at the paper's widths in bfloat16, and actors share GPUs.
``benchmarks.gpu`` measures it on yours."""
HEAD_BATCH: Final = 1024  # bags that pass through a head together


class Tagger:
    """A model ready to tag.

    Parameters
    ----------
    files : a verified model
    device : ``cpu`` or ``cuda``
    precision : arithmetic of the extractors; heads always run in float32
    batch : patches that pass through an extractor together, at most; None: what suits the device

    Attributes
    ----------
    card : the model's card
    novelty : what it needs to tell strange clips; None: it cannot tell

    Raises
    ------
    CommandError : weights that do not fit the card
    """

    def __init__(
        self,
        files: ModelFiles,
        device: str = "cpu",
        precision: Precision = "float32",
        batch: int | None = None,
    ) -> None:
        networks = build(files)
        self.card: Card = files.card
        self.novelty = networks.novelty
        self.device = torch.device(device)
        self.batch = batch or EXTRACTOR_BATCH[self.device.type]
        self.precision = precision
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
        """Read, verify and build the model at a folder or URI.

        Raises
        ------
        CommandError : there is none, it is broken, or it cannot tag
        """
        files = read_model(url)
        files.card.require_members()
        return cls(files, device, precision)

    @torch.inference_mode()
    def embed(self, patches: FloatArray) -> FloatArray:
        """Embeddings (n_extractors, n, 128) float32 of patches (n, 96, 64)."""
        out = np.empty((len(self.extractors), len(patches), EMBEDDING_SIZE), np.float32)
        for start in range(0, len(patches), self.batch):
            part = slice(start, start + self.batch)
            batch = torch.tensor(patches[part], dtype=self.dtype, device=self.device)
            for network, result in zip(self.extractors, out, strict=True):
                result[part] = network(batch).float().cpu().numpy()
        return out

    def hear(self, patches: FloatArray) -> Heard:
        """What there is to know of patches (n, 96, 64)."""
        nothing = np.empty((len(patches), 0), np.float32)
        return Heard(self.embed(patches), texture(patches) if self.novelty else nothing)

    def novelty_of(self, clip: Heard, prediction: Prediction) -> float | None:
        """How unlike a clip is to all that the model was trained on; None: it cannot tell."""
        if self.novelty is None:
            return None
        by_bag = prediction.bag_scores
        return self.novelty.of(clip, by_bag if len(by_bag) else prediction.scores[None])

    @torch.inference_mode()
    def predict(self, embeddings: Sequence[FloatArray]) -> list[Prediction]:
        """A prediction per clip, from each clip's embeddings (n_extractors, n_segments, 128)."""
        if not embeddings:
            return []
        members = [
            list(self._explain(head, [clip[which] for clip in embeddings]))
            for head, which in zip(self.heads, self._extractor_of, strict=True)
        ]
        return [_combine(clip, self.card) for clip in zip(*members, strict=True)]

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
        scores = probabilities(logits, self.card.labelling)
        return scores.cpu().numpy(), attention.cpu().numpy()

    def tag_waveform(
        self,
        samples: npt.ArrayLike,
        sample_rate_hz: float,
        top_k: int = 3,
        threshold: float | None = None,
    ) -> Result:
        """Tag an array of samples; the same as ``tag`` of a file that holds them.

        Parameters
        ----------
        samples : (n,) or (n, channels); floating point, 1.0 for full scale, or int16, int32, int8
            or uint8 as audio files hold them; in any byte order

        Raises
        ------
        TypeError : samples of another type
        CommandError : a shape or a rate that no recording has
        ClipError : the samples cannot be tagged, with the reason
        """
        return self.tag(recording_of(samples, sample_rate_hz), top_k, threshold)

    def tag(
        self,
        source: bytes | str | Path | BinaryIO,
        top_k: int = 3,
        threshold: float | None = None,
        track: int | None = None,
    ) -> Result:
        """Tag one recording: a path, its bytes, or a seekable binary file.

        Parameters
        ----------
        track : number, from 1, of the audio track to tag; None: the container's default

        Raises
        ------
        ClipError : the recording cannot be tagged, with the reason
        OSError : it cannot be read, or is a folder
        TypeError : none of these; for an array there is ``tag_waveform``
        """
        _require_recording(source)
        if track is not None:
            require_positive("track", track)
        _, blocks = audio.load(source, track=track)
        heard = joined([self.hear(part) for part in stream_patches(blocks)])
        return self._result(blocks.signal, heard, top_k, threshold)

    def _result(
        self, signal: audio.Signal, heard: Heard, top_k: int, threshold: float | None
    ) -> Result:
        embeddings = heard.embeddings
        (prediction,) = self.predict([embeddings])
        novelty = self.novelty_of(heard, prediction)
        times = segments.segment_times(
            embeddings.shape[1], signal.content_start_s, signal.content_end_s
        )
        readout = Readout.of(self.card, top_k, CARD if threshold is None else threshold)
        return Result(
            signal,
            readout.tags(prediction, times),
            {part.name: rows for part, rows in zip(self.card.extractors, embeddings, strict=True)},
            *times,
            readout.timeline(prediction, times),
            readout.events(prediction, times),
            prediction,
            novelty,
            self.card.none_of_these(novelty),
        )


def _require_recording(source: object) -> None:
    """Raise what tells in a line that this is not one recording."""
    if isinstance(source, str | Path):
        if Path(source).is_dir():
            raise IsADirectoryError(f"{source} is a folder: tag each of its recordings")
    elif isinstance(source, io.TextIOBase):
        raise TypeError('tag takes a binary file: open it with mode "rb"')
    elif not isinstance(source, bytes) and not (
        hasattr(source, "read") and hasattr(source, "seek")
    ):
        raise TypeError(
            f"tag takes a path, bytes or a binary file, not {type(source).__name__}; for an array "
            "of samples there is tag_waveform(samples, sample_rate_hz)"
        )


def _combine(members: Sequence[tuple[FloatArray, FloatArray]], card: Card) -> Prediction:
    """The ensemble's prediction of one clip from each member's (bag probabilities, attention)."""
    clip_scores = np.stack([ensemble.clip_mean(bags) for bags, _ in members])
    how = card.labelling, card.temperature
    scores = ensemble.combined(clip_scores, *how)
    shapes = {weights.shape[2] for _, weights in members}
    bag_scores = (
        ensemble.combined(np.stack([bags for bags, _ in members]), *how)
        if len(shapes) == 1
        else np.empty((0, len(scores)), np.float32)
    )
    return Prediction(scores, bag_scores, tuple(weights for _, weights in members))
