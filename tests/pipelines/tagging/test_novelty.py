"""None of these, from recordings to tables, views and the terminal."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.output.query import answer
from pipelines.storage.store import open_store
from pipelines.tagging.direct import tagged_rows
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tagger import Tagger
from tagger.schema import NONE_OF_THESE
from tests.support.sounds import write_sounds
from tests.support.tiny_model import save_model_that_knows_noise

N_NOISES = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_model_that_knows_noise(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> Path:
    """Noises, a tone, and half a minute of each of them."""
    folder = write_sounds(tmp_path_factory.mktemp("audio"), N_NOISES)
    write_sounds(folder / "long", 1, seconds=30.0)
    for name, seconds in (("tone", 1.0), ("long/tone", 30.0)):
        samples = np.sin(2 * np.pi * 700 * np.arange(round(16_000 * seconds)) / 16_000)
        soundfile.write(folder / f"{name}.wav", 0.3 * samples, 16_000)
    return folder


@pytest.fixture(scope="module")
def out(model, audio, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("out"))
    record = tag(TagJob(inputs=(str(audio),), out=folder, model=str(model)), ["tag"])
    n_strange = record.summary()["n_none_of_these"]
    strange = ask(folder, "SELECT count(*) FROM clips WHERE none_of_these")
    assert strange == [(n_strange,)]
    return folder


def ask(out: str, question: str) -> list[tuple[object, ...]]:
    with answer(open_store(out), question) as rows:
        return [tuple(row.values()) for row in rows.read_all().to_pylist()]


def test_a_strange_clip_is_none_of_these_in_the_views_alone(out):
    rows = ask(
        out,
        "SELECT c.uri LIKE '%tone.wav', none_of_these, c.novelty > 0.95, t.tag, t.nearest_tag, "
        "t.mid IS NULL AND t.score IS NULL, t.novelty = c.novelty, tags.tag AS said "
        "FROM clips c JOIN top_tags t USING (clip_id) JOIN tags USING (clip_id) WHERE rank = 1",
    )
    assert len(rows) == N_NOISES + 3
    tones = [row for row in rows if row[0]]
    assert len(tones) == 2
    for is_tone, strange, beyond, top, nearest, nothing_said, same, tag_of_heads in rows:
        assert (nearest, same) == (tag_of_heads, True)
        assert strange == beyond
        assert top == (NONE_OF_THESE if strange else tag_of_heads)
        assert nothing_said or not strange
        assert strange or not is_tone
    assert sum(bool(row[1]) for row in rows if not row[0]) <= 2  # one in twenty, on average


def test_the_library_says_the_same(out, model, audio):
    tagger = Tagger.load(model)
    novelty = dict(
        ask(out, "SELECT regexp_extract(uri, '[^/]*$'), novelty FROM clips WHERE n_segments = 1")
    )
    for name in ("0.wav", "5.wav"):
        result = tagger.tag(audio / name)
        assert result.novelty == pytest.approx(novelty[name], abs=0.03)
    tone = tagger.tag(audio / "tone.wav")
    assert (tone.novelty > 0.95, tone.none_of_these) == (True, True)
    assert f"{NONE_OF_THESE}, nearest" in repr(tone)


def test_the_terminal_tells(model, audio, out, capsys):
    assert main(["tag", str(audio / "tone.wav"), "--print", "--model", str(model)]) == 0
    assert f"  {NONE_OF_THESE} (novelty 0.95); nearest: " in capsys.readouterr().out
    assert main(["status", out]) == 0
    assert f"of them {NONE_OF_THESE}" in capsys.readouterr().out


def test_a_model_without_novelty_tells_none(tiny_model, audio):
    rows = list(tagged_rows(TagJob(inputs=(str(audio),), out="", model=str(tiny_model))))
    assert {(row["novelty"], row["none_of_these"]) for row in rows} == {(None, None)}
    result = Tagger.load(tiny_model).tag(audio / "tone.wav")
    assert (result.novelty, result.none_of_these) == (None, None)
