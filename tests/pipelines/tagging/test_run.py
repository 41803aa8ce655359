"""The job from its model to its record, in this process."""

import json
import math
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.output.status import status
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import LocalStore, open_store
from tagger.card import read_model
from tagger.checkpoint import build, save
from tagger.labels import Label
from tests.support.damaged import flipped
from tests.support.s3_proxy import Fault
from tests.support.tables import read_tables

LABELS = [Label("Rain"), Label("Dog"), Label("Sea")]


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "in" / "sound.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return str(path)


@pytest.fixture
def model_on_s3(s3, tiny_model):
    url = s3.new_prefix()
    filesystem(url).put(f"{tiny_model}/", f"{url}/", recursive=True)
    return url


def end_of(store):
    """State and error of the only run's record."""
    (record,) = (json.loads(store.read(path)) for path in store.list("_runs"))
    return record["state"], record["error"]


@pytest.mark.s3
def test_a_model_is_read_once(sound, tmp_path, model_on_s3, tiny_model, proxy):
    files = [path.name for path in tiny_model.iterdir()]
    seen = {name: Fault("pass", f"GET .*{name}") for name in files}
    proxy.faults = [*seen.values()]
    out = str(tmp_path / "out")
    assert main(["tag", sound, "--out", out, "--model", model_on_s3]) == 0
    assert {name: fault.n_matched for name, fault in seen.items()} == dict.fromkeys(files, 1)
    assert end_of(open_store(out)) == ("complete", None)


@pytest.mark.s3
def test_a_repeated_call_counts_once(sound, s3, proxy, tiny_model):
    out = s3.new_prefix()
    kinds = (r"PUT .*/_staging/", r"GET .*/_staging/", r"PUT .*/clips/")
    proxy.faults = [Fault("503 SlowDown", kind, times=1) for kind in kinds]
    assert main(["tag", sound, "--out", out, "--model", str(tiny_model)]) == 0
    store = open_store(out)
    (record,) = (json.loads(store.read(path)) for path in store.list("_runs"))
    assert record["n_retries"] == proxy.spoilt["503 SlowDown"] == 3


@pytest.mark.s3
@pytest.mark.parametrize("how", [["--out", "{}"], ["--print"], ["--out", "{}", "--dry-run"]])
@pytest.mark.parametrize(
    ("code", "environment"),
    [
        (6, {"AWS_ENDPOINT_URL": "http://127.0.0.1:{port}"}),
        (5, {"AWS_SECRET_ACCESS_KEY": "wrong"}),
        (2, {}),
    ],
    ids=["store away", "credentials refused", "no model there"],
)
def test_what_keeps_a_model_from_being_read_has_its_exit_code(
    code,
    environment,
    how,
    sound,
    tmp_path,
    model_on_s3,
    monkeypatch,
    capsys,
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(port=port))
    options = [part.format(tmp_path / "out") for part in how]
    model = model_on_s3 if environment else f"{model_on_s3}/nowhere"
    assert main(["tag", sound, "--model", model, "--store-patience", "0.3", *options]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists(), "before any work"


def test_networks_that_cannot_be_built(sound, tmp_path, tiny_model, capsys):
    networks = build(read_model(tiny_model))
    next(networks.extractors["b"].parameters()).data[0] = math.nan
    heads = list(zip("ab", networks.heads, strict=True))
    save(tmp_path / "model", "tiny", LABELS, networks.extractors, heads, {})
    out = str(tmp_path / "out")
    assert main(["tag", sound, "--out", out, "--model", str(tmp_path / "model")]) == 2
    err = capsys.readouterr().err
    assert "holds numbers in features.0.weight that are not finite" in err
    assert not (tmp_path / "out").exists(), "before any work"


@pytest.mark.s3
@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [("503 SlowDown", 6, "no answer in"), ("403 InvalidAccessKeyId", 5, "check AWS_ACCESS_KEY_ID")],
)
def test_a_store_that_gives_out_during_the_run_is_told_in_a_line_of_the_record(
    fault,
    code,
    said,
    sound,
    s3,
    proxy,
    tmp_path,
    tiny_model,
):
    url, out = f"{s3.new_prefix()}/sound.wav", str(tmp_path / "out")
    filesystem(url).put_file(sound, url)
    proxy.faults = [Fault(fault, r"GET [^?]*\.wav")]
    options = ["--model", str(tiny_model), "--store-patience", "0.3"]
    assert main(["tag", url, "--out", out, *options]) == code
    state, error = end_of(open_store(out))
    assert state == "failed"
    assert error is not None
    assert said in error
    assert "\n" not in error


class DamagingStore(LocalStore):
    """Writes the first staged files with a bit changed."""

    n_left = 0

    def write(self, path, data):
        if path.startswith("_staging") and DamagingStore.n_left:
            DamagingStore.n_left -= 1
            data = flipped(data, 4 * len(data))
        super().write(path, data)


@pytest.fixture
def archive(tmp_path):
    """Three recordings, one of them empty, and how to tag them."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).standard_normal(16_000)
        soundfile.write(folder / f"{seed}.wav", 0.1 * noise, 16_000)
    (folder / "empty.wav").write_bytes(b"")
    return str(folder)


@pytest.mark.parametrize(("n_damaged", "code"), [(1, 0), (2, 0), (100, 6)])
def test_what_is_damaged_while_it_is_staged_is_tagged_again(
    archive, tmp_path, tiny_model, monkeypatch, caplog, n_damaged, code
):
    out = str(tmp_path / "out")
    monkeypatch.setattr(DamagingStore, "n_left", n_damaged)
    monkeypatch.setattr("pipelines.tagging.run.open_store", DamagingStore)
    command = ["tag", archive, "--out", out, "--model", str(tiny_model), "--max-failed", "1"]
    assert main(command) == code
    store = open_store(out)
    n_aside = len(store.list("_damaged"))
    assert caplog.text.count("was changed since it was staged") == n_aside
    assert n_aside == n_damaged or (code == 6 and n_aside >= 3)
    (record,) = (json.loads(store.read(path)) for path in store.list("_runs"))
    counts = {table: len(read_tables(out).get(table, ())) for table in ("clips", "failures")}
    assert counts == ({"clips": 2, "failures": 1} if code == 0 else {"clips": 0, "failures": 0})
    assert (record["n_tagged"], record["n_failed"]) == tuple(counts.values())
    assert record["failures"] == ({"empty": 1} if code == 0 else {})
    assert status(store, verify="bytes").models == () or code == 0


def test_a_run_on_an_output_in_which_a_bit_was_flipped(archive, tmp_path, tiny_model, capsys):
    """In a file of each kind, in turn: never a defect, and no row is lost or doubled."""
    out = str(tmp_path / "out")
    command = ["tag", archive, "--out", out, "--model", str(tiny_model), "--max-failed", "1"]
    assert main(command) == 0
    store = open_store(out)
    for path in store.list(""):
        data = store.read(path)
        for bit in (9, 4 * len(data)):
            store.write(path, flipped(data, bit))
            code = main(command)
            said = capsys.readouterr()
            assert (code == 2 and path in said.err) or code == 0, said.err
            assert main(["status", out]) in (0, 9)
            names_it = main(["status", out, "--verify"]) == 9 and path in capsys.readouterr().out
            assert names_it or path == "views.sql" or path.startswith("_runs/"), path
            store.write(path, data)
        assert main(command) == 0
        assert main(["status", out, "--verify"]) == 0
        assert len(read_tables(out)["clips"]) == 2
    assert len(read_tables(out)["failures"]) == 1


def test_clips_of_an_entry_are_done_again_on_demand(archive, tmp_path, tiny_model, capsys):
    out = str(tmp_path / "out")
    command = ["tag", archive, "--out", out, "--model", str(tiny_model), "--max-failed", "1"]
    assert main(command) == 0
    store = open_store(out)
    before = [row["processed_at"] for row in read_tables(out)["clips"]]
    (path,) = store.list("embeddings")
    store.remove([path])
    assert main(command) == 2
    assert path in capsys.readouterr().err
    assert main([*command, "--redo-entry", "7"]) == 2
    assert "no entry 7" in capsys.readouterr().err
    for wrong in ("--dry-run", "--print"):
        assert main([*command, "--redo-entry", "0", wrong]) == 2
        assert "--redo-entry does not go with" in capsys.readouterr().err
    assert main([*command, "--redo-entry", "0"]) == 0
    assert min([row["processed_at"] for row in read_tables(out)["clips"]]) > max(before)
    assert len(read_tables(out)["failures"]) == 1
    assert main(["status", out, "--verify"]) == 0
    assert main(["status", "--verify", out]) == 0
    assert main(["status", out, "--verify=counts"]) == 0
    assert main(["status", out, "--verify=hashes"]) == 2


def test_an_end_that_a_library_turns_into_an_error_of_its_own(sound, tmp_path, tiny_model):
    """Imports do, and what Ray calls."""
    script = """
import os, signal, sys, time
from pipelines.cli import main
from pipelines.tagging import run

def work(self, clips):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except BaseException:
        raise ImportError("half of a library")

run._TagRun._work = work
main.run()
"""
    out = str(tmp_path / "out")
    command = [sys.executable, "-c", script, "tag", sound, "--out", out]
    done = subprocess.run([*command, "--model", str(tiny_model)], check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert end_of(open_store(out)) == ("interrupted", "ended by SIGTERM")
