"""Reading cards: what is verified, and what is said about a model that cannot be used."""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tagger.calibration import Calibration
from tagger.card import Card, read_model, to_json
from tagger.card_parts import ExtractorCard, MemberCard
from tagger.errors import CommandError
from tagger.labels import Label

WEIGHTS = {"a.safetensors": b"weights of a", "head.safetensors": b"weights of its head"}


def sha256(file: str) -> str:
    return hashlib.sha256(WEIGHTS[file]).hexdigest()


def a_card(**changes: object) -> Card:
    card = Card(
        "small",
        (Label("Rain", "/m/06mb1"), Label("Dog")),
        (ExtractorCard("a", {"hidden": 8}, "a.safetensors", sha256("a.safetensors")),),
        (MemberCard("a", "attention", {}, "head.safetensors", sha256("head.safetensors")),),
        about={"trained on": "nothing"},
    )
    return replace(card, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose weights are any bytes."""
    for name, data in WEIGHTS.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "card.json").write_text(json.dumps(to_json(a_card())))
    return tmp_path


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "card.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def complaint(folder: Path) -> str:
    with pytest.raises(CommandError) as caught:
        read_model(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"model {folder}: ")
    return text


def test_a_card_reads_as_it_was_written(folder):
    files = read_model(folder)
    assert files.card == a_card()
    assert files.weights == WEIGHTS
    assert read_model(f"file://{folder}/").card == files.card


def test_a_wrong_hash(folder):
    (folder / "head.safetensors").write_bytes(b"other weights")
    text = complaint(folder)
    assert re.search(r"head.safetensors has sha256 \w{12}…, the card says \w{12}…", text)


@pytest.mark.parametrize("name", ["card.json", "a.safetensors"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert f"cannot read {name} (FileNotFoundError)" in complaint(folder)


def test_a_folder_that_is_not_there(tmp_path):
    assert "cannot read card.json" in complaint(tmp_path / "nowhere")


@pytest.mark.parametrize("url", ["nosuch://bucket/model", "s3://bucket/model"])
def test_a_place_that_cannot_be_opened(url, monkeypatch):
    """No such scheme; an endpoint where nothing listens."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(CommandError, match=r"cannot read card.json"):
        read_model(url)


@pytest.mark.parametrize(
    "data",
    [b"", b"no json", b"\xff\xfe\x00", b"[]", b"3", b'"format"', b"{}", b"[" * 100_000],
    ids=lambda data: repr(data[:8]),
)
def test_not_a_card(folder, data):
    (folder / "card.json").write_bytes(data)
    assert "card.json is not a model card" in complaint(folder)


def test_another_format(folder):
    edit(folder, lambda card: card.update(format=3))
    assert "card format 3, this tagger reads up to 2" in complaint(folder)


def test_a_card_of_the_first_format_stays_what_it_was():
    """Byte for byte, in what its ``model_id`` is made of."""
    card = a_card()
    decisive = {
        "format": 1,
        "name": "small",
        "labels": [vars(label) for label in card.labels],
        "front_end": card.front_end,
        "extractors": [vars(part) for part in card.extractors],
        "members": [vars(part) for part in card.members],
    }
    assert to_json(card) == decisive | {"about": card.about}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    assert card.model_id == f"small-{digest[:8]}"


def test_a_card_of_several_labels_a_clip_has_format_2(folder):
    card = a_card(labelling="several")
    content = to_json(card)
    assert (content["format"], content["labelling"]) == (2, "several")
    (folder / "card.json").write_text(json.dumps(content))
    assert read_model(folder).card == card
    assert card.model_id != a_card().model_id


def test_a_calibrated_card_reads_as_it_was_written(folder):
    card = a_card(calibration=Calibration(1.5, (0.3, None), precision=0.9))
    content = to_json(card)
    assert content["format"] == 2
    assert content["calibration"] == {
        "temperature": 1.5,
        "thresholds": (0.3, None),
        "precision": 0.9,
    }
    (folder / "card.json").write_text(json.dumps(content))
    found = read_model(folder).card
    assert found == card
    assert (found.temperature, list(found.least_scores(0.5))) == (1.5, [0.3, math.inf])
    assert len({card.model_id, a_card(calibration=Calibration(1.4, (0.3, None))).model_id}) == 2
    assert (a_card().temperature, a_card().least_scores(0.5)) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("calibration", "what"),
    [
        ({"temperature": 1.0, "thresholds": [0.5]}, "not as many thresholds as labels"),
        ({"temperature": 0, "thresholds": [0.5, 0.5]}, "its temperature is not from 0.1 to 10"),
        ({"temperature": 1.0, "thresholds": [0.5, 7]}, "a threshold that is not from 0 to 1"),
        ({"temperature": 1.0}, "not a model card"),
        ({"temperature": 1.0, "thresholds": [0.5, "x"]}, "not a model card"),
        (3, "not a model card"),
    ],
)
def test_a_calibration_that_is_none(folder, calibration, what):
    edit(folder, lambda card: card.update(format=2, calibration=calibration))
    assert what in complaint(folder)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"format": 1, "labelling": "several"}, "a card of format 1 with what another format has"),
        ({"format": 2}, "a card of format 2 with what another format has"),
        ({"format": 2, "labelling": "many"}, "no labelling 'many'"),
    ],
)
def test_a_card_whose_fields_do_not_fit_its_format(folder, change, what):
    edit(folder, lambda card: card.update(change))
    assert what in complaint(folder)


def test_another_front_end(folder):
    edit(folder, lambda card: card["front_end"].update(log_offset=0.001))
    assert "another front end" in complaint(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(surprise=1),
        lambda card: card["extractors"][0].update(surprise=1),
        lambda card: card["members"][0].update(surprise=1),
        lambda card: card["labels"][0].update(surprise=1),
        lambda card: card.pop("labels"),
        lambda card: card.pop("name"),
        lambda card: card.update(name=3),
        lambda card: card.update(labels=[{"name": 3}]),
        lambda card: card.update(about="a text"),
        lambda card: card["extractors"][0].update(weights=None),
        lambda card: card["extractors"][0].update(config=None),
        lambda card: card["members"][0].update(sha256=None),
        lambda card: card["members"][0].update(extractor=["a"]),
    ],
)
def test_keys_that_are_too_many_missing_or_of_another_type(folder, change):
    edit(folder, change)
    assert "card.json is not a model card" in complaint(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../a.safetensors",
        "/etc/passwd",
        "..",
        "",
        "card.json",
        "sub/a.safetensors",
        "a.safetensors::http://x/b.safetensors",
        "*.safetensors",
        "a.safetensors\n",
        "s3://bucket/a.safetensors",
    ],
)
def test_a_card_that_names_a_file_outside_its_folder(folder, name):
    edit(folder, lambda card: card["extractors"][0].update(weights=name))
    assert "is no safetensors file beside the card" in complaint(folder)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", ".hidden", "model=x", "é"])
def test_names_that_could_not_be_folder_names(folder, name):
    edit(folder, lambda card: card.update(name=name))
    assert "is no name of letters" in complaint(folder)
    edit(folder, lambda card: card.update(name="fine"))
    edit(folder, lambda card: card["extractors"][0].update(name=name))
    assert "is no name of letters" in complaint(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda card: card.update(members=[]), "its members do not name its extractors"),
        (lambda card: card["members"][0].update(extractor="b"), "do not name its extractors"),
        (lambda card: card["extractors"].append(card["extractors"][0]), "the same name"),
        (lambda card: card["members"][0].update(kind="forest"), "no head of the kind 'forest'"),
        (lambda card: card["members"][0].update(sha256="abc"), "'abc' is no sha256"),
        (lambda card: card["labels"].append({"name": "Rain"}), "more than once: Rain"),
        (lambda card: card.update(labels=[]), "needs labels"),
    ],
)
def test_parts_that_do_not_belong_together(folder, change, text):
    edit(folder, change)
    assert text in complaint(folder)


def test_the_model_id_names_everything_that_decides():
    card = a_card()
    assert re.fullmatch(r"small-[0-9a-f]{8}", card.model_id)
    assert a_card(about={"trained on": "something"}).model_id == card.model_id
    extractor, member = card.extractors[0], card.members[0]
    others = [
        a_card(name="other"),
        a_card(labels=card.labels[::-1]),
        a_card(labels=(Label("Rain"), Label("Dog"))),
        a_card(extractors=(replace(extractor, config={"hidden": 9}),)),
        a_card(extractors=(replace(extractor, sha256="0" * 64),)),
        a_card(members=(replace(member, config={"hidden": 9}),)),
        a_card(members=(replace(member, sha256="0" * 64),)),
        a_card(members=(member, member)),
    ]
    assert len({card.model_id, *(other.model_id for other in others)}) == 1 + len(others)


def test_the_model_id_stays_the_same_from_version_to_version():
    """It names partitions of tables that exist."""
    assert a_card().model_id == "small-f1da6edd"
