"""Recordings decoded as ``tag`` decodes them, in a process apart, and embedded here."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pyarrow as pa

from pipelines.inputs.access import Access
from pipelines.runtime.limits import Limits
from pipelines.tagging.stages import Preprocessor
from tagger.arrays import DoubleArray, FloatArray
from tagger.audio import Signal
from tagger.card import ModelFiles
from tagger.errors import ClipError, CommandError
from tagger.segments import segment_times

Times = tuple[DoubleArray, DoubleArray]


def embed_recordings(
    clips: pa.Table, model: ModelFiles, extractor: str, access: Access
) -> Iterator[tuple[FloatArray, Times]]:
    """The embeddings (n, 128) of each recording, and where its segments begin and end.

    Parameters
    ----------
    clips : schema ``LISTING``

    Raises
    ------
    CommandError : a recording that cannot be decoded
    AccessDenied, StoreUnavailable : a store gave out
    """
    from tagger.devices import pick_device  # torch: seconds that clips need not cost
    from tagger.tagging import Tagger

    tagger = Tagger(model, pick_device())
    which = [part.name for part in model.card.extractors].index(extractor)
    with closing(Preprocessor(Limits(), access)) as preprocess:
        for i in range(len(clips)):
            signal: Signal | None = None
            parts: list[FloatArray] = []
            for _, what in preprocess(clips.slice(i, 1)):
                if isinstance(what, ClipError):
                    name = clips["uri"][i].as_py()
                    raise CommandError(
                        f"{name} cannot be searched for: {what.reason}, {what.detail}"
                    )
                if isinstance(what, Signal):
                    signal = what
                elif isinstance(what, np.ndarray):
                    parts.append(tagger.embed(what)[which])
            assert signal is not None
            rows = np.concatenate(parts)
            yield rows, segment_times(len(rows), signal.content_start_s, signal.content_end_s)
