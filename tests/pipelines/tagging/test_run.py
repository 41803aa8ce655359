"""The job from its model to its record, in this process."""

import json
import socket

import numpy as np
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import open_store
from tests.support.s3_proxy import Fault


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
