"""A search on Ray answers what a search in this process answers, and tells the same errors."""

import pytest

from pipelines.runtime.limits import Resources
from pipelines.searching import pieces, table_files
from pipelines.searching.search import search
from tagger.errors import CommandError

pytestmark = pytest.mark.ray


@pytest.fixture
def on_ray(ray_cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 50)
    return Resources(cpus=2)


def test_the_same_answers(full, rng, on_ray, monkeypatch):
    query = rng.standard_normal(128)
    for how in ({}, {"per_clip": True, "tag": "Rooster"}, {"top": 1000, "extractor": "second"}):
        found = search(full.root, query, resources=on_ray, **how)
        with monkeypatch.context() as here:
            here.delenv("RAY_ADDRESS")
            assert search(full.root, query, **how) == found


def test_damage_is_told(full, rng, on_ray, monkeypatch):
    monkeypatch.setattr(table_files, "PAUSES_S", (0.0,))
    path = full.list("embeddings")[1]
    data = full.read(path)
    middle = len(data) // 2
    full.write(path, data[:middle] + bytes(1000) + data[middle + 1000 :])
    with pytest.raises(CommandError, match=f"{path} cannot be read"):
        search(full.root, rng.standard_normal(128), resources=on_ray)
