"""Models written, read and built again; weights that do not fit their card."""

import hashlib
import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_safetensors

from tagger import checkpoint
from tagger.card import read_model
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.labels import Label

LABELS = [Label("Rain", "/m/06mb1"), Label("Dog"), Label("Bell")]
EXTRACTOR = VGGishConfig((2, 3, 4, 5), 6, "none")
HEAD = AttentionConfig(n_segments=4, levels=(1, 3), hidden=7)


@pytest.fixture
def networks(make_extractor, make_head):
    extractors = {"first": make_extractor(EXTRACTOR, 0), "last": make_extractor(EXTRACTOR, 1)}
    return extractors, [(name, make_head(3, HEAD, seed)) for seed, name in enumerate(extractors)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_networks_are_read_as_they_were_saved(tmp_path, networks, dtype):
    extractors, heads = networks
    card = checkpoint.save(tmp_path / "new/model", "small", LABELS, *networks, {"by": "me"}, dtype)
    files = read_model(tmp_path / "new/model")
    assert files.card == card
    assert files.card.model_id == card.model_id
    assert list(files.card.labels) == LABELS
    ensemble = checkpoint.build(files)
    assert list(ensemble.extractors) == ["first", "last"]
    assert [member.extractor for member in card.members] == ["first", "last"]
    found = [*ensemble.extractors.values(), *ensemble.heads]
    saved = [*extractors.values(), *(head for _, head in heads)]
    for network, original in zip(found, saved, strict=True):
        assert network.config == original.config
        assert not network.training
        for key, value in original.state_dict().items():
            rounded = value.to(dtype).to(value.dtype) if value.ndim > 1 else value
            torch.testing.assert_close(network.state_dict()[key], rounded, rtol=0, atol=0)


def test_statistics_beyond_float16_survive_it(tmp_path, networks):
    (_, head), _ = networks[1]
    head.input_norm.running_var.fill_(1e6)
    checkpoint.save(tmp_path, "small", LABELS, *networks, {}, torch.float16)
    read = checkpoint.build(read_model(tmp_path)).heads[0]
    assert read.input_norm.running_var.tolist() == [1e6] * 128


def test_float16_halves_the_files(tmp_path, networks):
    sizes = []
    for dtype in (torch.float32, torch.float16):
        folder = tmp_path / str(dtype)
        checkpoint.save(folder, "small", LABELS, *networks, {}, dtype)
        sizes.append(sum(len(data) for data in read_model(folder).weights.values()))
    assert sizes[1] < 0.75 * sizes[0]  # so much of such small networks is names and statistics


def test_a_model_of_a_name_that_could_be_no_folder_is_not_saved(tmp_path, networks):
    with pytest.raises(CommandError, match="is no name"):
        checkpoint.save(tmp_path, "a/b", LABELS, *networks, {})


def complaint(folder: Path) -> str:
    files = read_model(folder)
    with pytest.raises(CommandError) as caught:
        checkpoint.build(files)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("model small: ")
    return text


@pytest.fixture
def folder(tmp_path, networks) -> Path:
    checkpoint.save(tmp_path, "small", LABELS, *networks, {})
    return tmp_path


def edit(folder: Path, kind: str, **changes: object) -> None:
    content = json.loads((folder / "card.json").read_text())
    content[kind][0] |= changes
    (folder / "card.json").write_text(json.dumps(content))


def test_labels_that_do_not_match_the_head(folder):
    content = json.loads((folder / "card.json").read_text())
    content["labels"].pop()
    (folder / "card.json").write_text(json.dumps(content))
    assert "head-0-first.safetensors does not fit the card (size mismatch" in complaint(folder)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("extractors", {"conv_widths": [2, 3, 4, 6], "hidden": 6}),
        ("extractors", {"conv_widths": [2, 3, 4], "hidden": 6}),
        ("extractors", {"conv_widths": 4, "hidden": 6}),
        ("extractors", {"conv_widths": [2, 3, 4, 5], "hidden": "6"}),
        ("extractors", {"conv_widths": [2, 3, 4, 5], "hidden": -6}),
        ("extractors", {"conv_widths": [2, 3, 4, 5], "hidden": 2**40}),
        ("extractors", {"conv_widths": [2, 3, 4, 5], "hidden": 6, "embedding_activation": "tanh"}),
        ("extractors", {"conv_widths": [2, 3, 4, 5], "hidden": 6, "surprise": 1}),
        ("members", {"hidden": 7, "levels": [1, 2]}),
        ("members", {"hidden": 7, "levels": [4]}),
        ("members", {"hidden": 7, "levels": [1, 3], "n_segments": 0}),
        ("members", {"hidden": 7, "levels": [1, 3], "dropout": 2}),
        ("members", {"hidden": 7, "levels": [1, 3], "surprise": 1}),
    ],
)
def test_numbers_that_do_not_fit_the_weights(folder, kind, config):
    edit(folder, kind, config=config)
    assert "does not fit the card" in complaint(folder)


@pytest.mark.parametrize(
    "data",
    [b"", b"not safetensors", save_safetensors({}), save_safetensors({"x": torch.zeros(3)})],
    ids=["empty", "text", "no tensors", "other tensors"],
)
def test_weights_that_are_none(folder, data):
    (folder / "head-0-first.safetensors").write_bytes(data)
    edit(folder, "members", sha256=hashlib.sha256(data).hexdigest())
    assert "head-0-first.safetensors does not fit the card" in complaint(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("where", ["extractors", "heads"])
def test_weights_that_are_not_finite(tmp_path, networks, value, dtype, where):
    extractors, heads = networks
    network = extractors["last"] if where == "extractors" else heads[1][1]
    for key, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        before = tensor.view(-1)[-1].item()
        tensor.view(-1)[-1] = value
        checkpoint.save(tmp_path, "small", LABELS, *networks, {}, dtype)
        file = "extractor-last" if where == "extractors" else "head-1-last"
        with pytest.raises(
            CommandError, match=rf"{file}\.safetensors .* {re.escape(key)} .*finite"
        ):
            checkpoint.build(read_model(tmp_path))
        tensor.view(-1)[-1] = before
    checkpoint.save(tmp_path, "small", LABELS, *networks, {}, dtype)
    checkpoint.build(read_model(tmp_path))
