"""What ``prepare`` leaves, opened again."""

import numpy as np
import pandas as pd
import pytest

from pipelines.storage.store import open_store
from pipelines.training.jobs import PrepareJob
from pipelines.training.workfolder.patches import (
    PATCHES,
    load_patches,
    open_prepared,
    patches_of,
)
from tagger import audio, dataset, logmel
from tagger.errors import CommandError
from tests.support.small_data import prepare_here, shards, write_folds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """18 clips in two folds; the sixth of them is empty."""
    folder = tmp_path_factory.mktemp("data")
    write_folds(folder)
    (folder / "1-1-2.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def prepared(folder):
    job = PrepareJob(data=str(folder / "clips.csv"), work=str(folder / "work"), copies=1)
    return prepare_here(job)


def test_the_data_set_is_found_again(folder, prepared):
    """By another process: nothing but the work folder is looked at."""
    given = dataset.load(folder / "clips.csv")
    found = open_prepared(open_store(str(folder / "work")))
    pd.testing.assert_frame_equal(found.dataset.clips, given.clips, check_dtype=False)
    assert found.dataset.labels == given.labels
    assert found.dataset.layout == "csv"
    assert found.fingerprint == given.fingerprint() == found.dataset.fingerprint()
    assert (found.dataset.truth() == given.truth()).all()


def test_failures_have_no_patches(prepared):
    (failure,) = prepared.failures().to_pylist()
    assert (failure["name"], failure["reason"]) == ("1-1-2.wav", "empty")
    assert prepared.failed_clips.tolist() == [5]
    loaded = load_patches(prepared, prepared.dataset.development(), copies=1)
    assert sorted({*range(18)} - set(loaded.clips.tolist())) == [5]


def test_patches_of_some_clips_and_copies(folder, prepared):
    clips = np.array([12, 3])
    for copies in (0, 1):
        loaded = load_patches(prepared, clips, copies)
        assert loaded.clips.tolist() == np.repeat([3, 12], 1 + copies).tolist()
        assert loaded.copies.tolist() == [*range(1 + copies)] * 2
        starts = loaded.takes.starts
        assert starts[-1] == len(loaded.takes.values)
        for take, clip in enumerate(loaded.clips):
            if loaded.copies[take] == 0:
                name = prepared.dataset.clips["name"][clip]
                expected = logmel.patches(audio.waveform(folder / name)[1])
                found = loaded.takes.values[starts[take] : starts[take + 1]]
                np.testing.assert_allclose(found, expected, atol=0.005)  # float16
    assert loaded.takes.labels.tolist() == [1, 1, 1, 1]


def test_values_are_no_views_of_what_was_read(prepared):
    """Else a few selected rows would keep whole shards in memory."""
    (table,) = shards(prepared)
    assert table.schema == PATCHES
    assert patches_of(table["patches"]).base.base is None


def test_nothing_prepared_is_told(tmp_path):
    with pytest.raises(CommandError, match="run prepare first"):
        open_prepared(open_store(str(tmp_path)))


def test_clips_that_all_failed_are_told(prepared):
    with pytest.raises(CommandError, match="could be prepared"):
        load_patches(prepared, np.array([5]), copies=1)
