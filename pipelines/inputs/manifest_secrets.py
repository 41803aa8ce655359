"""Rows of manifests that hold passwords, keys or signatures are refused."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage.uris import SECRET_PATTERN, is_local, refused_credentials
from tagger.errors import CommandError

Row = tuple[str, str | None]
"""A name as it is written, and the further columns as JSON."""


def refuse_secrets(some: Sequence[Row], n_before: int, uri: str) -> None:
    """Refuse rows that hold credentials.

    By Arrow's expressions, which take time in proportion to the text: a row of ``://???…`` costs
    Python's ``re`` hours.
    """
    for at in np.flatnonzero(_hold_secrets([name for name, _ in some])).tolist():
        name = some[at][0]
        if not is_local(name):
            raise refused_credentials(name, f"{uri!r} row {n_before + 1 + at}")
    if _hold_secrets([extra or "" for _, extra in some]).any():
        raise CommandError(f"{uri!r}: a column beside uri holds URIs with credentials; remove it")


def _hold_secrets(texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(texts), np.bool_)
    doubtful = [at for at, text in enumerate(texts) if "://" in text]
    data = [texts[at].encode(errors="surrogateescape") for at in doubtful]
    found[doubtful] = pc.match_substring_regex(pa.array(data, pa.binary()), SECRET_PATTERN)
    return found
