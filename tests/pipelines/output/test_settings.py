"""An output keeps the settings that it was begun with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.output.damage import unseal
from pipelines.output.settings import Settings, open_output, read_settings
from pipelines.storage.store import LocalStore, open_store
from tagger.calibration import Threshold
from tagger.errors import CommandError
from tagger.schema import SCHEMA_VERSION


def test_pins_the_first_settings(out_url: str, settings: Settings) -> None:
    store = open_store(out_url)
    open_output(store, settings)
    open_output(store, settings)
    assert read_settings(store) == settings
    assert store.list("") == ["_output.json"]
    with pytest.raises(CommandError, match=r"another front end.*give another --out"):
        open_output(store, replace(settings, front_end="other"))


def test_all_settings_that_differ_are_told_as_flags(tmp_path: Path, settings: Settings) -> None:
    store = open_store(str(tmp_path))
    open_output(store, settings)
    with pytest.raises(CommandError) as caught:
        open_output(store, replace(settings, top_k=3))
    assert str(caught.value) == (
        f"{tmp_path} was begun with other settings: --top-k 5 (now: --top-k 3); give those it was "
        "begun with, or another --out"
    )
    tables = ("tags", "failures", "clips")
    other = Settings(tables, 3, 0.25, "float16", "other")
    with pytest.raises(CommandError) as caught:
        open_output(store, other)
    assert str(caught.value) == (
        f"{tmp_path} was begun with other settings: not --no-embeddings, --embedding-dtype "
        "float32, --timeline, --top-k 5, --threshold 0 (now: --no-embeddings, --embedding-dtype "
        "float16, not --timeline, --top-k 3, --threshold 0.25); give those it was begun with, or "
        "another --out"
    )


@pytest.mark.parametrize("begun", [0.25, "card"])
def test_an_output_keeps_thresholds_that_nobody_asks_for(
    tmp_path: Path, settings: Settings, begun: Threshold
) -> None:
    store = open_store(str(tmp_path))
    pinned = replace(settings, threshold=begun, event_threshold=begun)
    open_output(store, pinned)
    for now in (0.5, "card"):
        asked = replace(settings, threshold=now, event_threshold=now)
        open_output(store, asked, left_out=["threshold", "event_threshold"])
        assert read_settings(store) == pinned
        if now != begun:
            with pytest.raises(CommandError, match=f"--threshold {begun} .now: --threshold {now}"):
                open_output(store, asked, left_out=["event_threshold"])
    with pytest.raises(CommandError, match=f"settings: --event-threshold {begun} .now: --event"):
        open_output(store, replace(pinned, event_threshold=0.5))


def test_refuses_an_output_of_a_newer_version(tmp_path: Path, settings: Settings) -> None:
    store = open_store(str(tmp_path))
    open_output(store, settings)
    pinned = unseal(store.read("_output.json")) | {"schema_version": SCHEMA_VERSION + 1}
    store.write("_output.json", json.dumps(pinned | {"new_setting": 1}).encode())
    with pytest.raises(CommandError, match="newer"):
        open_output(store, settings)


def test_refuses_a_store_without_create_if_absent(tmp_path: Path, settings: Settings) -> None:
    class Overwriting(LocalStore):
        def create(self, path: str, data: bytes) -> bool:
            self.write(path, data)
            return True

    with pytest.raises(CommandError, match="only if it is absent"):
        open_output(Overwriting(str(tmp_path)), settings)


def test_refuses_a_missing_bucket(s3: object, settings: Settings) -> None:
    with pytest.raises(CommandError, match="bucket"):
        open_output(open_store("s3://no-such-bucket/out"), settings)


def test_refuses_what_is_not_an_output(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no output"):
        read_settings(open_store(str(tmp_path)))


def test_an_output_keeps_to_one_precision(tmp_path: Path, settings: Settings) -> None:
    store = open_store(str(tmp_path))
    open_output(store, replace(settings, precision="default"))
    with pytest.raises(CommandError, match=r"not --precision bfloat16 \(now: --precision bfloat16"):
        open_output(store, replace(settings, precision="bfloat16"))


@pytest.mark.parametrize("precision", ["default", "bfloat16"])
def test_an_output_that_kept_no_precision_takes_any(
    tmp_path: Path, settings: Settings, precision: str
) -> None:
    store = open_store(str(tmp_path))
    open_output(store, settings)
    open_output(store, replace(settings, precision=precision))
