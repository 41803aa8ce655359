"""The loop: tags are looked at, corrected on the page, learnt from; then they are as corrected."""

import csv
from pathlib import Path

import pytest

from pipelines.demo.run import make_collection
from tests.support.commands import carry_out
from tests.support.tables import read_tables

CORRECTED = {"rain.wav": "Waterfall", "rooster.m4a": "Cockatoo"}


def top_tags(out: Path, model: str) -> dict[str, str]:
    """The first tag of each recording, by its name."""
    return {
        row["uri"].rpartition("/")[2]: row["tag"]
        for row in read_tables(str(out))["tags"]
        if row["rank"] == 1 and row["model_id"].startswith(f"{model}-")
    }


def done(*command: object) -> str:
    """What a command says that is carried out."""
    found = carry_out(*map(str, command))
    assert found.code == 0, found.err
    return found.out


def correct(visit, page: Path) -> list[dict[str, str]]:
    """Answer for every clip of a page, as somebody does who hears two mistakes; what is saved."""
    opened = visit.page
    opened.goto(page.as_uri())
    cards = opened.locator("article[data-clip-id]")
    named = "all => all.map(one => [one.dataset.clipId, one.querySelector('h5').textContent])"
    for clip_id, name in dict(cards.evaluate_all(named)).items():
        card = opened.locator(f'[data-clip-id="{clip_id}"]').first
        label = CORRECTED.get(name)
        if label is None:
            card.locator("[data-answer=right]").click()
            continue
        card.locator("[data-answer=other]").click()
        card.locator("form input").fill(label)
        card.locator("form input").press("Enter")
    with opened.expect_download() as download:
        opened.locator("#save").click()
    download.value.save_as(page.with_name("saved.csv"))
    assert (visit.errors, visit.reached) == ([], [])
    with page.with_name("saved.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.ray
def test_what_is_corrected_on_the_page_is_what_the_next_model_says(visit, tmp_path, ray_cluster):
    audio, out, work = make_collection(tmp_path / "audio"), tmp_path / "tables", tmp_path / "work"
    done("tag", audio, "--out", out, "--max-failed", 1)
    before = top_tags(out, "esc10")
    done("report", out, "--out", tmp_path / "report.html")
    answers = correct(visit, tmp_path / "report.html")
    assert sorted(row["answer"] for row in answers) == ["other"] * 2 + ["right"] * (len(before) - 2)

    at = ("--work", work)
    done("prepare", tmp_path / "saved.csv", *at, "--no-balance")
    taken = ("--start", "bundled", "--epochs", 0, "--patience", 0)  # the extractor as it is
    done("finetune", *at, "--name", "a", "--split", "all", *taken)
    done("embed", *at, "--extractors", "a")
    training = ("--epochs", 60, "--patience", 0, "--learning-rate", 0.01)
    done("fit", *at, "--extractors", "a", "--name", "F", *training)
    done("evaluate", *at, "--name", "mine", "--members", "F:a", "--publish", tmp_path / "mine")

    assert "tagged 10 clips" in done("retag", out, "--model", tmp_path / "mine")
    assert top_tags(out, "mine") == before | CORRECTED
