"""A search as it is commanded: recordings and clips as queries, models, parts, what is left out."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.searching.job import SearchJob
from pipelines.searching.run import find
from pipelines.searching.search import search
from pipelines.storage.store import open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tagger import Tagger
from tagger.card import BUNDLED, read_model
from tagger.errors import CommandError, OptionError
from tests.support.embedded import Embedded, publish_clips
from tests.support.sounds import write_sound, write_sounds


def uris(answers):
    return answers["uri"].to_pylist()


def names(answers):
    return [Path(uri).name for uri in uris(answers)]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Six recordings of three seconds, three segments each."""
    return write_sounds(tmp_path_factory.mktemp("sounds"), 6, seconds=3.0)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory, sounds, tiny_model):
    """Their tables, by a model that is not the bundled one."""
    out = str(tmp_path_factory.mktemp("tagged") / "out")
    tag(TagJob(inputs=(str(sounds),), out=out, model=str(tiny_model)), ["tag"])
    return out


def job(tables, *queries, **how):
    return SearchJob(queries=tuple(map(str, queries)), tables=str(tables), **how)


def test_a_recording_that_is_not_in_the_tables(tagged, tiny_model, tmp_path, sounds):
    copy = tmp_path / "copy.wav"
    copy.write_bytes((sounds / "3.wav").read_bytes())
    found = find(job(tagged, copy, model=str(tiny_model), segment_s=(0.96, 1.92), top=1))
    assert names(found) == ["3.wav"]
    assert found["start_s"].to_pylist() == [0.96]
    assert found["score"].to_pylist() == [pytest.approx(1.0, abs=1e-6)]


def test_a_recording_is_embedded_as_tag_embeds_it(tagged, tiny_model, tmp_path):
    new = write_sound(tmp_path / "new.flac", 3.5, rate=44_100, channels=2, seed=9)
    result = Tagger.load(tiny_model).tag(new)
    for extractor in "ab":
        wanted = search(tagged, result.embeddings[extractor], extractor=extractor)
        how = {"model": str(tiny_model), "extractor": extractor}
        found = find(job(tagged, new, **how))
        assert uris(found) == uris(wanted)
        np.testing.assert_allclose(found["score"], wanted["score"], atol=1e-6)


@pytest.mark.parametrize("by", ["path", "uri", "clip_id"])
def test_a_clip_of_the_tables_needs_no_model(tagged, sounds, by):
    (clips,) = Path(tagged).glob("clips/*/*/*.parquet")
    rows = pq.ParquetFile(clips).read().to_pylist()
    ids = {Path(row["uri"]).name: row["clip_id"] for row in rows}
    text = {
        "path": sounds / "2.wav",
        "uri": f"file://{sounds / '2.wav'}",
        "clip_id": ids["2.wav"],
    }[by]
    found = find(job(tagged, text, per_clip=True))
    assert sorted(names(found)) == [f"{i}.wav" for i in (0, 1, 3, 4, 5)]


def test_what_was_asked_with_is_no_answer(tagged, sounds):
    whole = find(job(tagged, sounds / "2.wav", top=100))
    assert len(whole) == 15
    assert "2.wav" not in names(whole)
    part = find(job(tagged, sounds / "2.wav", segment_s=(0.96, 1.92), top=100))
    starts = zip(names(part), part["start_s"].to_pylist(), strict=True)
    own = [start for name, start in starts if name == "2.wav"]
    assert sorted(own) == [0.0, 1.92]
    assert len(part) == 17
    clips = find(job(tagged, sounds / "2.wav", segment_s=(0.96, 1.92), per_clip=True))
    assert "2.wav" not in names(clips)


def test_queries_are_averaged_and_pushed_away_from(local, rng):
    one, two, three = 5 * np.eye(128)[:3]
    for name, vector in {
        "one": one,
        "two": two,
        "three": three,
        "both": one + two,
        "all": one + two + three,
        "no": -one,
    }.items():
        publish_clips(local, [Embedded(name, vector[None])])
    assert uris(find(job(local.root, "/one", "/two", top=2))) == ["file:///both", "file:///all"]
    found = find(job(local.root, "/all", not_=("/two",), top=2))
    assert uris(found) == ["file:///one", "file:///three"]
    assert "file:///two" not in uris(find(job(local.root, "/all", not_=("/two",))))
    with pytest.raises(CommandError, match="cancel"):
        find(job(local.root, "/one", "/no"))


@pytest.mark.parametrize(
    ("part_s", "wanted"),
    [
        ((0.0, 9.0), {0, 1, 2}),
        ((0.96, 1.92), {1}),
        ((0.9600001, 1.9199999), {1}),
        ((0.5, 1.9), {1}),
        ((0.4, 1.9), {0, 1}),
        ((1.0, 1.1), {1}),
        ((1.9, 1.95), {2}),
        ((2.0, 99.0), {2}),
    ],
)
def test_the_segments_of_a_part(local, part_s, wanted):
    publish_clips(local, [Embedded("clip", np.eye(128)[:3])])
    probes = [Embedded(f"{i}", np.eye(128)[i][None]) for i in range(3)]
    publish_clips(local, probes)
    found = find(job(local.root, "/clip", segment_s=part_s, per_clip=True))
    scores = zip(uris(found), found["score"].to_pylist(), strict=True)
    best = {uri[-1] for uri, score in scores if score > 0.1}
    assert best == {str(i) for i in wanted}


def test_a_part_without_a_segment(local, tagged, sounds, tiny_model, tmp_path):
    with pytest.raises(OptionError, match=r"from 0\.00 to 2\.88 s"):
        find(job(tagged, sounds / "2.wav", segment_s=(3.0, 4.0)))
    copy = tmp_path / "copy.wav"
    copy.write_bytes((sounds / "3.wav").read_bytes())
    with pytest.raises(OptionError, match=r"from 0\.00 to 2\.88 s"):
        find(job(tagged, copy, segment_s=(3.0, 4.0), model=str(tiny_model)))


def test_the_tag_of_a_recording_and_tags_misspelt(local, noise):
    publish_clips(local, noise)
    found = find(job(local.root, "/noise-00.wav", tag="Rooster", per_clip=True, top=100))
    assert sorted(uris(found)) == [f"file:///noise-{i:02d}.wav" for i in range(1, 60, 2)]
    with pytest.raises(OptionError, match=r"no clip has: Roster; did you mean Rooster\?"):
        find(job(local.root, "/noise-00.wav", tag="Roster"))


def test_the_model_of_the_tables(tagged, sounds, tiny_model, tmp_path):
    new = write_sound(tmp_path / "new.wav", 2.0)
    tiny = read_model(tiny_model).card.model_id
    bundled = read_model(BUNDLED).card.model_id
    with pytest.raises(CommandError, match=f"--model the folder of the model {tiny}"):
        find(job(tagged, new))
    with pytest.raises(OptionError, match=f"made {tagged}: {tiny}, not {bundled}"):
        find(job(tagged, new, model=str(BUNDLED)))
    with pytest.raises(CommandError, match=f"--model the folder of the model {tiny}"):
        find(job(tagged, new, model=tiny))
    with pytest.raises(CommandError, match=r"card\.json"):
        find(job(tagged, new, model=str(tmp_path)))
    assert len(find(job(tagged, sounds / "2.wav", model=tiny)))


def test_tables_of_two_models(local, noise, rng):
    for model_id in ("m-1", "m-2"):
        publish_clips(local, noise[:9], model_id=model_id)
    with pytest.raises(OptionError) as told:
        find(job(local.root, "/noise-00.wav"))
    assert "m-1, m-2" in str(told.value)
    assert len(find(job(local.root, "/noise-00.wav", model="m-2", top=3))) == 3
    bundled = read_model(BUNDLED).card.model_id
    publish_clips(local, noise[:5], model_id=bundled)
    found = find(job(local.root, "/noise-00.wav", per_clip=True))
    assert len(found) == 4


def test_the_current_version_of_a_clip_is_searched_for(local):
    one, two = np.eye(128)[:2]
    publish_clips(local, [Embedded("clip", one[None])])
    later = datetime(2027, 1, 1, tzinfo=UTC)
    publish_clips(local, [Embedded("clip", two[None], version="2", at=later)])
    publish_clips(local, [Embedded("one", one[None]), Embedded("two", two[None])])
    assert uris(find(job(local.root, "/clip", top=1))) == ["file:///two"]
    assert uris(find(job(local.root, "clip-1", top=1))) == ["file:///one"]


def test_a_recording_that_cannot_be_decoded(tagged, tiny_model, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    with pytest.raises(CommandError, match=r"broken\.wav cannot be searched for: "):
        find(job(tagged, broken, model=str(tiny_model)))


def test_what_names_no_single_recording(tagged, tiny_model, tmp_path, sounds):
    with pytest.raises(CommandError, match=r"no clip of .*, and no recording: .*nowhere"):
        find(job(tagged, tmp_path / "nowhere.wav"))
    with pytest.raises(CommandError, match="names 6 recordings: a QUERY is a single one"):
        find(job(tagged, sounds, model=str(tiny_model)))


@pytest.mark.s3
def test_recordings_and_tables_on_s3(s3, tiny_model, sounds):
    archive, out = s3.new_prefix(), s3.new_prefix()
    store = open_store(archive)
    for i in range(4):
        store.write(f"{i}.wav", (sounds / f"{i}.wav").read_bytes())
    tag(TagJob(inputs=(f"{archive}/",), out=out, model=str(tiny_model)), ["tag"])
    store.write("query/1.wav", (sounds / "1.wav").read_bytes())
    found = find(job(out, f"{archive}/query/1.wav", model=str(tiny_model), per_clip=True))
    assert uris(found)[0] == f"{archive}/1.wav"
    assert f"{archive}/1.wav" not in uris(find(job(out, f"{archive}/1.wav")))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"queries": ()}, "queries"),
        ({"top": 0}, "top"),
        ({"store_patience_s": 0.0}, "store_patience_s"),
        ({"segment_s": (2.0, 1.0)}, "segment_s"),
        ({"segment_s": (1.0, 1.0)}, "segment_s"),
        ({"segment_s": (-1.0, 1.0)}, "segment_s"),
        ({"segment_s": (0.0, float("nan"))}, "segment_s"),
        ({"queries": ("https://user:secret@host/a.wav",)}, "queries"),
        ({"not_": ("https://user:secret@host/a.wav",)}, "not_"),
        ({"model": "https://user:secret@host/model"}, "model"),
    ],
)
def test_what_cannot_be_asked(options, option):
    with pytest.raises(OptionError) as told:
        SearchJob(**{"queries": ("a",), "tables": "out"} | options)
    assert told.value.option == option
    assert "secret" not in str(told.value)
