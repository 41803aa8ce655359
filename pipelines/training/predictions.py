"""What an ensemble says of each test clip, beside what the clip is."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.training.scores import Scored
from tagger.dataset import Dataset
from tagger.label_texts import from_text
from tagger.labels import Labelling

SCORE: Final = "score_"  # begins the name of a label's column
N_MISTAKES: Final = 20


def predictions(dataset: Dataset, scored: Sequence[Scored]) -> pa.Table:
    """A row for each test clip.

    Returns
    -------
    name, uri, label, fold and split as of the data set; test: which test the clip belongs to; tag
    and score: the best; label_score: the score of the clip's label, or the least of its labels',
    null where it has none; then a column for each label,
    ``score_`` before its name. Scores are float32. They and the tag are null for a clip that no
    member could score.
    """
    names = np.array(dataset.labels.names)
    clips = np.concatenate([test.clips for test in scored])
    scores = np.concatenate([test.ensemble for test in scored])
    best = np.concatenate([test.ranking[:, 0] for test in scored])
    unanswered = best < 0
    every = np.arange(len(clips))

    def of(column: np.ndarray) -> pa.Array:
        return pa.array(column.astype(np.float32), mask=unanswered)

    sets = dataset.label_sets()[clips]
    least = np.where(sets, scores, np.float32(np.inf)).min(axis=1)
    about = dataset.clips.iloc[clips]
    columns: dict[str, pa.Array] = {
        **{name: pa.array(about[name], pa.string()) for name in ("name", "uri", "label", "split")},
        "fold": pa.array(about["fold"], pa.int32()),
        "test": pa.array(np.repeat([test.test_name for test in scored], [*map(_size, scored)])),
        "tag": pa.array(names[best], pa.string(), mask=unanswered),
        "score": of(scores[every, best]),
        "label_score": pa.array(least, mask=unanswered | ~sets.any(axis=1)),
        **{f"{SCORE}{name}": of(scores[:, k]) for k, name in enumerate(names)},
    }
    return pa.table(columns)


def mistakes(table: pa.Table, labelling: Labelling = "one", n: int = N_MISTAKES) -> pd.DataFrame:
    """The ``n`` clips of ``predictions`` whose label was thought least likely, worst first.

    Where clips have several labels, of those whose first tag is none of them.
    """
    columns = ["name", "uri", "label", "tag", "score", "label_score"]
    rows: pd.DataFrame = table.select(columns).to_pandas()
    wrong = [
        tag not in (from_text(label) if labelling == "several" else (label,))
        for tag, label in zip(rows["tag"], rows["label"], strict=True)
    ]
    rows = rows[rows["label_score"].notna() & np.array(wrong, np.bool_)]
    return rows.sort_values(["label_score", "name"]).head(n)


def _size(test: Scored) -> int:
    return len(test.clips)
