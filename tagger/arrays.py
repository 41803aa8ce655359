"""The array types of the library, each declared once; shapes stand where arrays are used."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Waveforms, spectra, patches, embeddings and scores."""

IndexArray = npt.NDArray[np.int64]
"""Rows of a table, numbers of classes, positions."""
