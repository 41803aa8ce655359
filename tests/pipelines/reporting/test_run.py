"""Pages as they are commanded: what is on them, read by a parser of HTML, and where they go."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.cli.main import main
from pipelines.output.query import asking
from pipelines.output.settings import open_output
from pipelines.reporting.job import ReportJob
from pipelines.reporting.moments import computed
from pipelines.reporting.run import MOST_BYTES, report
from pipelines.storage.models import read_model
from pipelines.storage.store import open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tagger import Tagger
from tagger.errors import CommandError, OptionError
from tests.support.outputs import VERSION_1, add
from tests.support.sounds import write_sounds
from tests.support.tables import read_tables


class Page(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.raw, self.text = [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag in ("script", "style") and (tag, attributes.get("type")) not in self.raw:
            self.raw[tag, attributes.get("type")] = data
        else:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.raw["script", "application/json"])


def page_of(done):
    return Page(Path(done.page).read_text(encoding="utf-8"))


def job(archive, out, **how):
    return ReportJob(**{"tables": archive.tables, "out": str(out), "model": archive.model} | how)


def test_every_clip_is_there_exactly(page, archive):
    seen = Page(page.read_text(encoding="utf-8"))
    clips = {row["clip_id"]: row for row in read_tables(archive.tables)["clips"]}
    tags = {(t["clip_id"], t["tag"]): t["score"] for t in read_tables(archive.tables)["tags"]}
    assert {entry["clip_id"] for entry in seen.data["entries"]} == set(clips)
    for entry in seen.data["entries"]:
        assert entry["uri"] == clips[entry["clip_id"]]["uri"]
        assert entry["score"] == pytest.approx(tags[entry["clip_id"], entry["tag"]], abs=1e-6)
        assert len(entry["tags"]) == 3
    assert all(image["alt"] for image in seen.all("img"))
    assert "1 tag" not in seen.text
    assert re.search(r"gone\.wav", seen.text)
    assert "vanished, no such file" in seen.text
    assert "unsupported" in seen.text


def test_only_the_scripts_and_styles_of_the_page_run(page):
    seen = Page(page.read_text(encoding="utf-8"))
    (policy,) = [m["content"] for m in seen.all("meta") if "http-equiv" in m]
    for directive, key in (("script-src", ("script", None)), ("style-src", ("style", None))):
        digest = base64.b64encode(hashlib.sha256(seen.raw[key].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    loaded = [a.get("src") or a.get("href") for _, a in seen.elements if "src" in a or "href" in a]
    assert all(url.startswith(("data:", "#")) for url in loaded)
    assert not any(name.startswith("on") or name == "style" for _, a in seen.elements for name in a)


def test_moments_of_short_clips_are_those_of_the_tagger(archive):
    model = read_model(archive.model)
    clips = {row["uri"]: row["clip_id"] for row in read_tables(archive.tables)["clips"]}
    path = archive.sounds / "=HYPERLINK('x').wav"
    clip_id = clips[path.as_uri() if path.as_uri() in clips else f"file://{path}"]
    result = Tagger.load(archive.model).tag(path, top_k=3)
    with asking(open_store(archive.tables), "current_embeddings") as ask:
        found = computed(ask, [clip_id], model)
    assert set(found) == {(clip_id, moment.tag) for moment in result.timeline}
    for moment in result.timeline:
        (one,) = found[clip_id, moment.tag]
        assert one.score == pytest.approx(moment.score, abs=1e-6)
        assert one.attention == pytest.approx(moment.attention.tolist(), abs=1e-5)
        assert (one.start_s, one.end_s) == (moment.start_s, moment.end_s)


def test_a_long_clip_is_shown_around_its_best_moment(archive, tmp_path):
    timeline = read_tables(archive.tables)["timeline"]
    done = report(job(archive, tmp_path / "r.html", tag=("Rain",)))
    seen = page_of(done)
    best = max((m for m in timeline if m["tag"] == "Rain"), key=lambda m: m["score"])
    middle = (best["start_s"] + best["end_s"]) / 2
    spans = re.findall(r"([\d.]+) s to ([\d.]+) s of 25\.0 s", seen.text)
    assert spans
    (start, end) = map(float, spans[0])
    assert end - start == pytest.approx(8.0, abs=0.11)
    assert start <= middle <= end


def test_times_of_day_are_shown_where_they_are_known(page):
    seen = Page(page.read_text(encoding="utf-8"))
    labels = [svg.get("aria-label", "") for svg in seen.all("svg")]
    assert "Clips by hour, from 0 to 23: 0, 0, 0, 0, 0, 0, 1" in "".join(labels)
    assert any("2024-01-01 to 2024-01-01: 1" in label for label in labels)


def test_tags_runs_and_models_are_chosen(archive, tmp_path):
    (run_id,) = {row["run_id"] for row in read_tables(archive.tables)["clips"]}
    done = report(job(archive, tmp_path / "r.html", tag=("Dog",), run=(run_id,), n_each=1))
    seen = page_of(done)
    assert {entry["tag"] for entry in seen.data["entries"]} <= {"Dog"}
    assert done.n_shown <= 3
    assert run_id in seen.text
    model_id = seen.data["model_id"]
    by_name = report(job(archive, tmp_path / "s.html", model=model_id, tag=("Dog",)))
    assert page_of(by_name).data["model_id"] == model_id


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"tag": ("Rian",)}, "tag is a tag that no clip has: Rian; did you mean Rain?"),
        ({"run": ("x",)}, "run names no run of these tables: x"),
        ({"clip": "nowhere.wav"}, "clip names no recording of these tables: nowhere.wav"),
        ({"model": None, "tables": "/nowhere"}, "holds no output"),
    ],
)
def test_what_is_not_there_is_told(archive, tmp_path, how, says):
    with pytest.raises(CommandError, match=re.escape(says)):
        report(job(archive, tmp_path / "r.html", **how))
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    "how", [{"n_each": 0}, {"out": ""}, {"clip": "a", "tag": ("b",)}, {"out": "s3://k:s@b/r.html"}]
)
def test_what_cannot_be_is_refused(how):
    with pytest.raises(OptionError):
        ReportJob(**{"tables": "t"} | how)


def test_one_file_stays_small_and_says_what_is_left_out(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.reporting.run.MOST_BYTES", 500_000)
    done = report(job(archive, tmp_path / "r.html", n_each=50))
    assert done.n_left_out > 0
    assert done.n_bytes < 600_000  # and some figures
    assert f"{done.n_left_out} more clips did not fit" in page_of(done).text
    assert MOST_BYTES < 20e6


def test_an_output_and_recordings_in_a_bucket(s3, tiny_model, tmp_path):
    bucket = s3.new_prefix()
    sounds = write_sounds(tmp_path / "sounds", 2, seconds=2.0)
    store = open_store(f"{bucket}/sounds")
    for path in sounds.iterdir():
        store.write(path.name, path.read_bytes())
    tables = f"{bucket}/tables"
    tag(TagJob(inputs=(f"{bucket}/sounds",), out=tables, model=str(tiny_model)), ["tag"])
    done = report(ReportJob(tables=tables, out=f"{bucket}/page", model=str(tiny_model)))
    assert done.page == f"{bucket}/page/index.html"
    assert (done.n_shown, done.n_problems) == (2, 0)
    files = open_store(f"{bucket}/page")
    seen = Page(files.read("index.html").decode())
    for name in [
        *(image["src"] for image in seen.all("img")),
        *(a["src"] for a in seen.all("audio")),
    ]:
        assert files.exists(name)
    one = report(ReportJob(tables=tables, out=f"{bucket}/r.html", model=str(tiny_model)))
    assert b"data:audio/mpeg;base64," in open_store(bucket).read("r.html")
    assert one.n_shown == 2


def test_outputs_of_earlier_versions_and_empty_ones_have_a_page(tmp_path, settings):
    old = report(ReportJob(tables=str(VERSION_1), out=str(tmp_path / "old.html")))
    assert old.n_problems == old.n_shown > 0  # its recordings are nowhere
    open_output(open_store(str(tmp_path / "empty")), settings)
    empty = report(ReportJob(tables=str(tmp_path / "empty"), out=str(tmp_path / "empty.html")))
    assert "No clip is tagged yet" in page_of(empty).text


def test_the_command_tells_where_the_page_is(archive, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["report", archive.tables, "--model", archive.model, "--tag", "Dog", "--each", "1"]
    assert main([*command, "--out", "pages/r.html"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/pages/r.html (" in said
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["r.html"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"] == f"{tmp_path}/report.html"


def test_clips_that_are_none_of_these_are_told(tmp_path, staged_table, settings):
    rows = staged_table([(name, None, "r") for name in "abc"]).to_pylist()
    for row, novelty in zip(rows, (0.999, 0.5, None), strict=True):
        row["novelty"] = novelty
        row["none_of_these"] = None if novelty is None else novelty > 0.99
    store = open_store(str(tmp_path / "tables"))
    open_output(store, settings)
    add(store, pa.Table.from_pylist(rows, schema=staged_table([]).schema))
    done = report(ReportJob(tables=str(tmp_path / "tables"), out=str(tmp_path / "r.html")))
    text = Path(done.page).read_text(encoding="utf-8")
    assert "<dt>none of these</dt><dd>1</dd>" in text
    assert text.count("<strong>none of these?</strong>") == 1
    assert re.search(r'Rain</bdi></a></th>\s*<td class="number">2</td>', text)
