"""The array types of the library, each declared once; shapes stand where arrays are used."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Waveforms, log-mel patches, embeddings and scores."""

DoubleArray = npt.NDArray[np.float64]
"""Times in seconds, figures of an evaluation, and what is computed in double precision."""

RealArray = npt.NDArray[np.floating]
"""Floating point of any width: patches stored as float16, sums carried in float64."""

ComplexArray = npt.NDArray[np.complex64]
"""Spectra with their phase."""

IndexArray = npt.NDArray[np.int64]
"""Rows of a table, numbers of classes, positions."""

BoolArray = npt.NDArray[np.bool_]
"""Label sets, (n_clips, K): which labels each clip has; and other choices."""

LabelArray = npt.NDArray[Any]
"""The labels of clips: class numbers (n_clips,) int64 where each has one, else label sets."""

ByteArray = npt.NDArray[np.uint8]
"""Embeddings quantised to 8 bits, as the AudioSet release has them."""
