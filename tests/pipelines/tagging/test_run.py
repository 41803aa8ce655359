"""The job from its model to its record, in this process."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import Store, open_store
from tests.support.s3_proxy import Fault, S3Proxy
from tests.support.s3_server import S3Server


@pytest.fixture
def sound(tmp_path: Path) -> str:
    path = tmp_path / "in" / "sound.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return str(path)


@pytest.fixture
def model_on_s3(s3: S3Server, tiny_model: Path) -> str:
    url = s3.new_prefix()
    filesystem(url).put(f"{tiny_model}/", f"{url}/", recursive=True)
    return url


def end_of(store: Store) -> tuple[str, str | None]:
    """State and error of the only run's record."""
    (record,) = (json.loads(store.read(path)) for path in store.list("_runs"))
    return record["state"], record["error"]


@pytest.mark.s3
def test_a_model_is_read_once(
    sound: str, tmp_path: Path, model_on_s3: str, tiny_model: Path, proxy: S3Proxy
) -> None:
    files = [path.name for path in tiny_model.iterdir()]
    seen = {name: Fault("pass", f"GET .*{name}") for name in files}
    proxy.faults = [*seen.values()]
    out = str(tmp_path / "out")
    assert main(["tag", sound, "--out", out, "--model", model_on_s3]) == 0
    assert {name: fault.n_matched for name, fault in seen.items()} == dict.fromkeys(files, 1)
    assert end_of(open_store(out)) == ("complete", None)


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
    code: int,
    environment: dict[str, str],
    how: list[str],
    sound: str,
    tmp_path: Path,
    model_on_s3: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
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
    fault: str,
    code: int,
    said: str,
    sound: str,
    s3: S3Server,
    proxy: S3Proxy,
    tmp_path: Path,
    tiny_model: Path,
) -> None:
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
