"""An output to search in."""

import numpy as np
import pytest

from pipelines.storage.store import Store, open_store
from tests.support.embedded import Embedded, begin, publish_clips


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def store(out_url: str) -> Store:
    """An output that is begun, local and on S3."""
    opened = open_store(out_url)
    begin(opened)
    return opened


@pytest.fixture
def local(tmp_path) -> Store:
    """A local output that is begun."""
    opened = open_store(str(tmp_path / "out"))
    begin(opened)
    return opened


@pytest.fixture
def noise(rng: np.random.Generator) -> list[Embedded]:
    """Sixty clips of one to five segments, of two extractors, half of them tagged Rooster."""
    return [
        Embedded(
            f"noise-{i:02d}.wav",
            rng.standard_normal((2, 1 + i % 5, 128)).astype(np.float32),
            ("Rain", "Rooster") if i % 2 else ("Rain",),
        )
        for i in range(60)
    ]


@pytest.fixture
def full(store: Store, noise: list[Embedded]) -> Store:
    """These clips in three entries."""
    for start in range(0, 60, 20):
        publish_clips(store, noise[start : start + 20])
    return store
