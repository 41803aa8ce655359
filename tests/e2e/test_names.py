"""Names that others chose are shown escaped, by whatever verb and wherever they come from."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.output.settings import Settings, open_output
from pipelines.runtime.visible import visible, visible_json
from pipelines.storage.store import open_store
from tests.support.commands import ROOT, Done, carry_out
from tests.support.outputs import add
from tests.support.sounds import write_sound

Build = Callable[..., pa.Table]

NAMES = [
    "\x1b[2J\x1b]0;owned\x07",
    "a\nerror: forged",
    "b\r\x1b[K",
    "gpj\u202evaw",
    "zero\u200bwidth\ufeff",
    "c\x9b31m\x85d",
    "line\u2028end",
    "filler\u3164",
    "\U000e0041tag",
]
FORMATS = ["", "--log-format json"]


def safe(text: str) -> bool:
    """Whether all that is there is seen, line by line."""
    return all(visible(line) == line for line in text.split("\n"))


def assert_safe(done: Done, *names: str) -> None:
    """Both streams are safe, and the names are told."""
    assert safe(done.out), done.out
    assert safe(done.err), done.err
    for name in names:
        as_json = visible_json(json.dumps(name, ensure_ascii=False))[1:-1]
        shown = visible(name), json.dumps(visible(name), ensure_ascii=False)[1:-1], as_json
        assert any(each in done.out + done.err for each in shown), visible(name)


def own_process(*words: str, **environment: str) -> Done:
    """The command in a process of its own, which has its log on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, and under each name one that fails, also one that is no text."""
    folder = tmp_path_factory.mktemp("sounds") / "be\u202egin"
    write_sound(folder / "good\x1b[1m.wav")
    for name in NAMES:
        (folder / f"{name}.wav").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\x1b.wav")).write_bytes(b"")
    (folder / "link\x1b.wav").symlink_to("nowhere\x1b")
    return folder


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_job_over_files(
    log_format: str, collection: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ou\u202et"
    job = ["tag", str(collection), "--model", str(tiny_model), *log_format.split()]
    dry = own_process(*job, "--out", str(out), "--dry-run", "--verbose")
    assert_safe(dry)
    done = own_process(*job, "--out", str(out), "--verbose", "--max-failed", "1")
    assert done.code == 0, done.err
    assert_safe(done, *NAMES, "ou\u202et", "%FF%1B")
    shown = own_process(*job, "--print", "--max-failed", "1")
    assert_safe(shown, *NAMES, "good\x1b[1m.wav")
    (collection / "good\x1b[1m.wav").rename(tmp_path / "gone.wav")
    gone = own_process(*job, "--out", str(out), "--dry-run")
    (tmp_path / "gone.wav").rename(collection / "good\x1b[1m.wav")
    assert_safe(gone, "good\x1b[1m.wav")
    for verb in (["status", "--verify"], ["status", "--json"], ["status"]):
        assert_safe(own_process(*verb, str(out), *log_format.split()), *NAMES)


def test_results_as_json_hold_names_exactly(
    collection: Path, tiny_model: Path, tmp_path: Path
) -> None:
    job = ["tag", str(collection), "--model", str(tiny_model), "--max-failed", "1", "--json"]
    done = carry_out(*job, "--out", str(tmp_path / "out"))
    assert_safe(done)
    uris = {clip["uri"] for clip in json.loads(done.out)["failed_clips"]}
    assert {f"file://{collection}/{name}.wav" for name in NAMES} <= uris
    printed = [json.loads(line) for line in carry_out(*job, "--print").out.splitlines()]
    assert {f"file://{collection}/{name}.wav" for name in NAMES} <= {row["uri"] for row in printed}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "koi8-r"])
def test_json_is_json_in_any_encoding(encoding: str, collection: Path, tiny_model: Path) -> None:
    job = ["tag", str(collection), "--model", str(tiny_model), "--max-failed", "1", "--print"]
    write_sound(collection / "日本 ü\u202e.wav")
    done = own_process(*job, "--json", PYTHONIOENCODING=encoding)
    (collection / "日本 ü\u202e.wav").unlink()
    uris = {json.loads(line)["uri"] for line in done.out.splitlines()}
    assert f"file://{collection}/日本 ü\u202e.wav" in uris


MANIFEST_ROWS = [
    "/no/such/\x1b[31m.wav",
    "s3://bucket/gpj\u202evaw",
    "http://127.0.0.1:9/zero\u200bwidth.wav",
    "nosuchscheme\u202e://x",
    '"a\nerror: forged.wav"',
]


@pytest.mark.parametrize("row", MANIFEST_ROWS)
@pytest.mark.parametrize("how", [["--dry-run"], ["--print"], ["--verbose"]])
def test_rows_of_manifests(
    row: str, how: list[str], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    manifest = tmp_path / "rows\x1b.csv"
    manifest.write_text(f"uri\n{row}\n", encoding="utf-8")
    options = ["--model", str(tiny_model), "--store-patience", "0.1"]
    out = [] if how == ["--print"] else ["--out", str(tmp_path / "out")]
    assert_safe(carry_out("tag", str(manifest), *options, *out, *how))


WORDS = (
    ["{0}"],
    ["tag", "{0}", "--out", "{1}"],
    ["tag", "x", "--{0}"],
    ["tag", "x", "--out", "{1}", "--top-k", "{0}"],
    ["tag", "x", "--out", "{0}://x"],
    ["tag", "{2}", "--out", "{1}", "--model", "{0}"],
    ["status", "{1}/{0}"],
    ["status", "{1}", "--fail-if-older", "{0}"],
    ["query", "{1}/{0}", "SELECT 1"],
    ["forget", "{1}/{0}", "x"],
    ["compact", "{1}/{0}"],
    ["prepare", "{0}", "--work", "{1}"],
    ["evaluate", "--work", "{1}/{0}", "--name", "{0}"],
    ["submit", "--address", "{0}", "tag", "x", "--out", "y"],
)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
@pytest.mark.parametrize("name", NAMES)
def test_words_of_a_command(words: list[str], name: str, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "x.wav")
    done = carry_out(*(word.format(name, tmp_path, sound) for word in words))
    assert done.code != 0
    assert done.err.count("\n") == 1
    assert_safe(done)


HOSTILE = st.text(
    st.one_of(
        st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Zs"]),
        st.sampled_from("\x1b[]\n\r\t\u3164\ufe0f"),
        st.characters(codec="utf-8"),
    ),
    min_size=1,
    max_size=20,
)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(HOSTILE)
def test_what_tables_and_records_hold(
    tmp_path_factory: pytest.TempPathFactory,
    staged_table: Build,
    settings: Settings,
    name: str,
) -> None:
    """Whatever a table holds or a record says, and whoever wrote it there."""
    out = tmp_path_factory.mktemp("out")
    store = open_store(str(out))
    open_output(store, settings)
    add(store, _table(staged_table, name))
    store.write("_runs/20260101T000000Z-000000.json", _record(name))
    store.write("_runs/20260101T000000Z-000001.json", name.encode())
    for words in (["status", "--verify"], ["status", "--json"]):
        done = carry_out(*words, str(out))
        assert done.code == 0, done.err
        assert_safe(done, name)
    question = f"SELECT uri, tag, [uri] AS l, {{'a': tag}} AS s, 1 AS \"{_quoted(name)}\" FROM tags"
    for how in ("table", "csv", "json"):
        done = carry_out("query", str(out), question, "--format", how)
        assert done.code == 0, done.err
        assert_safe(done)
    (row,) = (row for row in json.loads(done.out) if row["tag"] == f"1{name}")
    assert (row["uri"], row["l"], row["s"]) == (name, [name], {"a": f"1{name}"})
    assert_safe(carry_out("query", str(out), f'SELECT "x{_quoted(name)}" FROM tags'))


def _quoted(name: str) -> str:
    return f"c{name}".replace("\0", "").replace('"', '""')


def _table(staged_table: Build, name: str) -> pa.Table:
    rows = staged_table([("a", None, "r"), ("b", "timeout", "r")], note=name).to_pylist()
    for row in rows:
        row["uri"] = name
        for tag in row["tags"] or ():
            tag["tag"] = f"{tag['rank']}{name}"
    return pa.Table.from_pylist(rows, schema=staged_table([]).schema)


def _record(name: str) -> bytes:
    now = datetime.now(UTC).isoformat()
    said = {"run_id": name, "model_id": name, "state": f"failed{name}", "begun_at": now}
    figures = {"n_tagged": 1, "n_failed": 2, "audio_hours": 1.5, "n_to_do": 3, "error": name}
    return json.dumps({**said, **figures, "started_at": now, "ended_at": now}).encode()


ANSWER = """<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code>
<Message>no\u202e\u200b&#133;\n\terror: forged</Message></Error>""".encode()


class _Hostile(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403, "no \x1b[2J")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hostile_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield url
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "words",
    [
        ["tag", "s3://bucket/x", "--out", "{0}"],
        ["tag", "{1}", "--out", "s3://bucket/x"],
        ["tag", "{2}/x/a.wav", "--out", "{0}", "--verbose", "--allow-private-hosts"],
        ["status", "s3://bucket/x"],
        ["query", "s3://bucket/x", "SELECT 1"],
    ],
    ids=" ".join,
)
def test_answers_of_a_store(words: list[str], hostile_store: str, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "x.wav")
    done = carry_out(*(word.format(tmp_path / "out", sound, hostile_store) for word in words))
    assert done.code != 0
    assert done.err.count("\n") == 1
    assert_safe(done)
