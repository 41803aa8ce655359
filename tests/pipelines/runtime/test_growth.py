"""What a cluster may become, and what of it a job takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.runtime.cluster import Workers, _choose
from pipelines.runtime.growth import Capacity, most_of
from pipelines.runtime.limits import Resources
from tagger.errors import CommandError, OptionError
from tests.support.autoscaler import configuration

NOTHING = Capacity(0, 0)
LARGE = Capacity(288, 4)


def test_the_most_that_the_cluster_file_allows() -> None:
    config = yaml.safe_load(Path("cluster.yaml").read_text(encoding="utf-8"))
    assert most_of(config) == LARGE
    kinds = config["available_node_types"]
    assert kinds.pop("head")["resources"] == {"CPU": 0}
    assert [kind["min_workers"] for kind in kinds.values()] == [0, 0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Capacity(3, 1)),
        ({"max_workers": 1}, Capacity(1, 1)),
        ({"max_workers": 0}, NOTHING),
    ],
)
def test_all_workers_together_are_limited(changes: dict[str, Any], expected: Capacity) -> None:
    assert most_of(configuration(cpu=2, gpu=1) | changes) == expected


def test_of_unequal_workers_the_largest_count_first() -> None:
    config = configuration(small=3, large=2) | {"max_workers": 4}
    config["available_node_types"]["large"]["resources"] = {"CPU": 10}
    assert most_of(config) == Capacity(22, 0)


@pytest.mark.parametrize(
    ("asked", "n_useful", "now", "limit", "expected"),
    [
        # what there is, whatever it is useful for; and of what may come what is useful
        ({}, 1, Capacity(4, 1), Capacity(4, 1), Workers(4, 1)),
        ({}, 1, NOTHING, LARGE, Workers(1, 1)),
        ({}, 40, Capacity(2, 0), LARGE, Workers(40, 3)),
        ({}, 10_000, NOTHING, LARGE, Workers(288, 4)),
        # flags are requests
        ({"cpus": 64}, 1, NOTHING, LARGE, Workers(64, 1)),
        ({"cpus": 2, "gpus": 0}, 9, Capacity(8, 1), Capacity(8, 1), Workers(2, 0)),
        ({"gpus": 4}, 1, Capacity(2, 0), LARGE, Workers(2, 4)),
        # nobody knows how far it grows
        ({}, 7, NOTHING, None, Workers(7, 0)),
        ({}, 10_000, Capacity(2, 1), None, Workers(256, 1)),
        ({"cpus": 999, "gpus": 9}, 1, NOTHING, None, Workers(999, 9)),
    ],
)
def test_what_a_job_gets(
    asked: dict[str, int],
    n_useful: int,
    now: Capacity,
    limit: Capacity | None,
    expected: Workers,
) -> None:
    assert _choose(Resources(**asked), n_useful, now, limit) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [{"cpus": 289}, {"gpus": 5}])
def test_more_than_can_ever_come_is_refused(asked: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="offers") as refused:
        _choose(Resources(**asked), 1, NOTHING, LARGE)  # type: ignore[arg-type]
    assert refused.value.option == next(iter(asked))


def test_a_cluster_that_has_nothing_and_starts_nothing_is_refused() -> None:
    with pytest.raises(CommandError, match="add a worker node"):
        _choose(Resources(), 1, NOTHING, NOTHING)


@pytest.mark.parametrize(("share", "n_actors"), [(1.0, 3), (0.5, 6), (0.3, 9), (0.125, 24)])
def test_actors_that_share_gpus(share: float, n_actors: int) -> None:
    assert Workers(8, 3, share).n_actors == n_actors
    assert Workers(8, 0, share).n_actors == 8
