"""Models are read as everything else is: with retries, and errors that say whose fault it is."""

import json
import shutil
import socket

import pytest

from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.filesystems import filesystem
from pipelines.storage.models import read_model, read_tagging_model
from pipelines.storage.retry import RetryCount
from tagger import card
from tagger.errors import CommandError
from tests.support.s3_proxy import Fault

PATIENCE_S = 0.5


@pytest.fixture
def on_s3(s3, tiny_model):
    """URL of a copy of the tiny model on the S3 server."""
    url = s3.new_prefix()
    filesystem(url).put(f"{tiny_model}/", f"{url}/", recursive=True)
    return url


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}"])
def test_a_local_model_is_read_as_the_library_reads_it(form, tiny_model):
    assert read_model(form.format(tiny_model)) == card.read_model(tiny_model)


@pytest.mark.s3
def test_a_model_on_s3_is_the_same(on_s3, tiny_model):
    assert read_model(f"{on_s3}/") == read_tagging_model(on_s3) == card.read_model(tiny_model)


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["503 SlowDown", "500 InternalError", "reset", "cut"])
def test_what_passes_is_tried_again(kind, on_s3, proxy, tiny_model):
    proxy.faults = [Fault(kind, f"GET .*{name}", times=2) for name in ("card", "safetensors")]
    retries = RetryCount()
    assert read_model(on_s3) == card.read_model(tiny_model)
    assert proxy.spoilt[kind] == 4
    assert retries.n >= 2  # aiohttp itself repeats a request when a kept connection was reset


@pytest.mark.s3
def test_every_file_is_asked_for_once(on_s3, proxy, tiny_model):
    files = [path.name for path in tiny_model.iterdir()]
    seen = {name: Fault("pass", f"GET .*{name}") for name in files}
    proxy.faults = [*seen.values()]
    read_model(on_s3)
    assert {name: fault.n_matched for name, fault in seen.items()} == dict.fromkeys(files, 1)


@pytest.mark.s3
def test_a_store_that_is_away(on_s3, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailable, match=r"reading .*/card\.json: no answer"):
        read_model(on_s3, PATIENCE_S)


@pytest.mark.s3
def test_a_store_that_goes_away_half_way(on_s3, proxy):
    proxy.faults = [Fault("reset", "safetensors")]
    with pytest.raises(StoreUnavailable, match="safetensors: no answer"):
        read_model(on_s3, PATIENCE_S)


@pytest.mark.s3
@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_refused_credentials(variable, on_s3, monkeypatch):
    monkeypatch.setenv(variable, "wrong")
    with pytest.raises(AccessDenied, match="check AWS_ACCESS_KEY_ID"):
        read_model(on_s3)


@pytest.mark.s3
def test_an_object_that_may_not_be_read(on_s3, proxy):
    proxy.faults = [Fault("403 AccessDenied", "safetensors")]
    with pytest.raises(AccessDenied, match="safetensors"):
        read_model(on_s3)


@pytest.mark.s3
@pytest.mark.parametrize(
    "spoil",
    [
        lambda url: url + "/nowhere",
        lambda url: url.replace("/tests/", "/no-such-bucket/"),
        lambda url: filesystem(url).rm_file(f"{url}/card.json") or url,
    ],
    ids=["no folder", "no bucket", "no card"],
)
def test_where_no_model_is(spoil, on_s3):
    with pytest.raises(CommandError, match=r"card\.json does not exist; name the folder"):
        read_model(spoil(on_s3))


@pytest.mark.s3
def test_weights_that_were_changed(on_s3, tiny_model):
    (name, *_) = card.read_model(tiny_model).weights
    filesystem(on_s3).pipe_file(f"{on_s3}/{name}", b"another network")
    with pytest.raises(CommandError, match=rf"{name} has sha256"):
        read_model(on_s3)


@pytest.mark.parametrize("url", ["{}/nowhere", "http://127.0.0.1:1/model", "nonsense://x"])
def test_what_is_wrong_with_other_places(url, tmp_path):
    with pytest.raises((CommandError, StoreUnavailable)):
        read_model(url.format(tmp_path), PATIENCE_S)


def test_a_url_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(CommandError, match="credentials") as refused:
        read_model("https://me:secret@example.org/model")
    assert "secret" not in str(refused.value)


def test_a_model_of_extractors_alone_cannot_tag(tmp_path, tiny_model):
    whole = card.read_model(tiny_model).card
    shutil.copytree(tiny_model, tmp_path / "part")
    part = card.Card(name="part", labels=(), extractors=whole.extractors, members=())
    text = json.dumps(card.to_json(part))
    (tmp_path / "part/card.json").write_text(text)
    assert read_model(str(tmp_path / "part")).card.members == ()
    with pytest.raises(CommandError, match="extractors only"):
        read_tagging_model(str(tmp_path / "part"))
