"""Which clips a page shows, beside a plain Python that sorts."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from pipelines.output.query import asking
from pipelines.output.settings import open_output
from pipelines.reporting import gallery
from pipelines.reporting.gallery import KINDS, choose, in_rounds
from pipelines.storage.store import open_store
from tests.support.outputs import add

TAGS = ["Rain", "Dog", "it's <b>"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory, staged_table, settings):
    """Sixty clips with three tags each in a random order; of the last ten no bag is known."""
    rng = np.random.default_rng(5)
    rows = staged_table([(f"c{i:02d}", None, "r") for i in range(60)]).to_pylist()
    for number, row in enumerate(rows):
        scores = np.sort(rng.dirichlet(np.ones(3)))[::-1]
        of_bags = rng.uniform(0, 1, 3)
        row["tags"] = [
            {
                "rank": rank,
                "tag": TAGS[k],
                "score": float(scores[rank - 1]),
                "max_score": None if number >= 50 else float(of_bags[k]),
                "heard_s": None if number >= 50 else 5.76 * float(of_bags[k] > 0.8),
            }
            for rank, k in enumerate(rng.permutation(3), 1)
        ]
    store = open_store(str(tmp_path_factory.mktemp("t") / "out"))
    open_output(store, settings)
    table = staged_table([])
    add(store, pa.Table.from_pylist(rows, schema=table.schema))
    return store, rows


def by_sorting(rows, n_each):
    """The definition, in plain Python."""
    of_tag = defaultdict(list)
    for row in rows:
        for tag in row["tags"]:
            if tag["rank"] == 1 or (tag["heard_s"] or 0) > 0:
                of_bag = tag["max_score"]
                strength = np.float32(tag["score"] if of_bag is None else of_bag)
                of_tag[tag["tag"]].append((float(strength), row["clip_id"]))
    found = {}
    for tag, clips in of_tag.items():
        best = [c for _, c in sorted(clips, key=lambda one: (-one[0], one[1]))][:n_each]
        left = [one for one in clips if one[1] not in best]
        doubtful = [c for _, c in sorted(left)][:n_each]
        drawn = sorted(c for _, c in left if c not in doubtful)[:n_each]
        found[tag] = dict(zip(KINDS, (best, doubtful, drawn), strict=True))
    return found


@pytest.mark.parametrize("n_each", [1, 4, 100])
def test_the_best_the_most_doubtful_and_some_at_random(tables, n_each):
    store, rows = tables
    with asking(store, "current_tags") as ask:
        chosen = choose(ask, "current_clips", TAGS, n_each)
    expected = by_sorting(rows, n_each)
    assert list(chosen) == TAGS
    for tag, clips in chosen.items():
        for kind in KINDS:
            assert [one.clip_id for one in clips if one.kind == kind] == expected[tag][kind]


def test_a_scope_and_tags_are_kept_to(tables):
    store, _ = tables
    with asking(store, "current_tags") as ask:
        scope = "(FROM current_clips WHERE clip_id < 'c05')"
        chosen = choose(ask, scope, ["it's <b>", "no such"], 100)
    assert set(chosen) <= {"it's <b>"}
    assert {one.clip_id for of in chosen.values() for one in of} <= {f"c0{i}" for i in range(5)}


def test_what_does_not_fit_is_left_out_of_all_tags_alike(tables):
    store, _ = tables
    with asking(store, "current_tags") as ask:
        chosen = choose(ask, "current_clips", TAGS, 3)
    ordered = in_rounds(chosen.values())
    assert len(ordered) == sum(map(len, chosen.values()))
    first = ordered[: 3 * len(chosen)]
    assert {(one.tag, one.kind) for one in first} == {
        (tag, kind) for tag in chosen for kind in KINDS
    }
    assert [one.clip_id for one in first if one.tag == "Dog"] == [
        next(one.clip_id for one in chosen["Dog"] if one.kind == kind) for kind in KINDS
    ]


@pytest.mark.parametrize(
    ("duration_s", "best_s", "span"),
    [
        (5.0, 2.0, (0.0, 5.0)),
        (100.0, 50.0, (46.0, 54.0)),
        (100.0, 1.0, (0.0, 8.0)),
        (100.0, 99.0, (92.0, 100.0)),
    ],
)
def test_the_stretch_that_is_shown(duration_s, best_s, span):
    moments = [
        gallery.Moment(best_s - 1, best_s + 1, 0.9, ()),
        gallery.Moment(70.0, 72.0, 0.2, ()),
    ]
    assert gallery._span(duration_s, 0.0, moments) == pytest.approx(span)
