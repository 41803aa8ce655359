"""Whole jobs before a store that misbehaves; the proxy is real, and so is the server behind it."""

import json
import os
import socket
from collections import Counter
from pathlib import Path

import pytest

from pipelines.output.status import status
from pipelines.storage.filesystems import filesystem
from pipelines.storage.retry import RetryCount
from pipelines.storage.store import open_store
from tests.support.s3_proxy import Fault, S3Proxy
from tests.support.sounds import write_sounds
from tests.support.tables import read_tables

pytestmark = [pytest.mark.ray, pytest.mark.s3]
faults = pytest.mark.faults  # what meets one fault after the other stays, and what is quick

N_CLIPS = 40


@pytest.fixture(scope="module")
def at_the_port(s3_server, ray_cluster):
    """The proxy at the address that Ray's workers know; the server has moved to another."""
    port = s3_server.ports[0]
    s3_server.kill()
    with socket.create_server(("127.0.0.1", 0)) as free:
        s3_server.ports[0] = free.getsockname()[1]
    s3_server.start()
    proxy = S3Proxy(port, s3_server.ports[0])
    yield proxy
    proxy.close()
    s3_server.kill()
    s3_server.ports[0] = port
    s3_server.start()


@pytest.fixture
def proxy(s3, at_the_port, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", at_the_port.url)
    monkeypatch.setattr("pipelines.tagging.batches.SHORTEST_BATCH_S", 16.0)  # six batches
    at_the_port.spoilt.clear()
    yield at_the_port
    at_the_port.faults = ()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"), N_CLIPS)


@pytest.fixture(scope="module")
def archive(s3_server, at_the_port, sounds):
    """The sounds on S3; where they are."""
    where = s3_server.new_prefix()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.env.items():
            patch.setenv(name, value)
        fs = filesystem(where)
        for path in sounds.iterdir():
            fs.pipe_file(f"{where}/{path.name}".removeprefix("s3://"), path.read_bytes())
    return where


def assert_whole(out, archive, found):
    """Every clip is there once, with all that belongs to it, and nothing waits."""
    names = sorted(row["uri"].removeprefix(f"{archive}/") for row in found["clips"])
    assert names == sorted(f"{i}.wav" for i in range(N_CLIPS))
    assert "failures" not in found
    clips = {row["clip_id"] for row in found["clips"]}
    assert Counter(row["clip_id"] for row in found["tags"]) == dict.fromkeys(clips, 3)
    assert Counter(row["clip_id"] for row in found["embeddings"]) == dict.fromkeys(clips, 2)
    (model,) = status(open_store(out), verify="bytes").models
    assert model.broken == ()
    assert (model.n_tagged, model.n_staged, model.n_unpublished) == (N_CLIPS, 0, 0)
    assert open_store(out).list("_lock") == []


def record_of(out):
    """The newest record."""
    store = open_store(out)
    return json.loads(store.read(store.list("_runs")[-1]))


def assert_no_secret(s3, out, said):
    """Neither in the output nor in Ray's logs, however the store failed."""
    import ray

    store = open_store(out)
    written = {path: store.read(path) for path in store.list("")}
    logs = Path(ray._private.worker._global_node.get_session_dir_path(), "logs")
    written |= {str(path): path.read_bytes() for path in logs.rglob("*") if path.is_file()}
    secret = s3.env["AWS_SECRET_ACCESS_KEY"]
    assert len(written) > 10
    assert [path for path, data in written.items() if secret.encode() in data] == []
    assert secret not in said


def test_a_job_outlives_a_bad_day_of_its_store(s3, proxy, archive, tag):
    out = s3.new_prefix()
    proxy.faults = [
        Fault("503 SlowDown", "list-type=2", times=1),
        Fault("cut", "list-type=2", times=1),
        Fault("lost", r"PUT .*/_output\.json", times=1),
        Fault("lost", r"PUT .*/_lock/", times=1),
        Fault("cut", r"GET .*/7\.wav", times=2),
        Fault("slow", r"GET .*/8\.wav", times=1),
        Fault("reset", r"GET .*/9\.wav", times=2),
        Fault("500 InternalError", r"PUT .*/_staging/", times=1),
        Fault("lost", r"PUT .*/_staging/", times=1),
        Fault("lost", r"PUT .*/_log/.*\.json", times=1),
        Fault("503 SlowDown", r"PUT .*/clips/", times=1),
        Fault("lost", r"PUT .*/embeddings/", times=1),
        Fault("cut", r"GET .*/_staging/", times=1),
        Fault("lost", r"PUT .*\.published", times=1),
        Fault("503 SlowDown", r"POST .*delete", times=1),
        *(Fault(kind, share=0.03) for kind in ("503 SlowDown", "reset", "lost", "slow")),
        Fault("cut", "^GET", share=0.03),
    ]
    done = tag(archive, "--out", out)
    proxy.faults = ()
    assert (done.code, proxy.spoilt["lost"] >= 6) == (0, True), (done.err, proxy.spoilt)
    assert_whole(out, archive, read_tables(out))
    record = record_of(out)
    assert record["state"] == "complete"
    n_seen = sum(proxy.spoilt[kind] for kind in ("503 SlowDown", "500 InternalError", "cut"))
    n_unseen = proxy.spoilt["reset"] + proxy.spoilt["lost"]  # aiohttp repeats most by itself
    assert n_seen - 2 <= record["n_retries"] <= n_seen + n_unseen, proxy.spoilt
    assert_no_secret(s3, out, done.out + done.err)


@pytest.mark.parametrize("what", ["secret", "403 AccessDenied", "400 ExpiredToken"])
def test_refused_credentials_are_told_in_a_line_before_any_work(
    what, s3, proxy, archive, sounds, tmp_path, tag, monkeypatch
):
    out = s3.new_prefix()
    with monkeypatch.context() as patch:
        if what == "secret":
            patch.setenv("AWS_SECRET_ACCESS_KEY", "hush, it is wrong")
        else:
            proxy.faults = [Fault(what)]
        for arguments in ((archive, "--out", str(tmp_path / "out")), (str(sounds), "--out", out)):
            done = tag(*arguments)
            assert (done.code, done.out) == (5, "")
            assert done.err.startswith("error: s3://") or "listing s3://" in done.err
            assert "credentials" in done.err or "AWS_ACCESS_KEY_ID" in done.err
            assert done.err.count("\n") == 1
            assert "hush" not in done.err
    proxy.faults = ()
    assert not (tmp_path / "out").exists()
    assert open_store(out).list("") == []


@faults
@pytest.mark.parametrize(
    "fault",
    [
        Fault("400 ExpiredToken", r"GET .*\.wav", after=20),
        Fault("403 AccessDenied", r"PUT .*/_log/.*\.json"),
    ],
    ids=["expired", "log denied"],
)
def test_credentials_that_end_on_the_way_leave_nothing_by_halves(fault, s3, proxy, archive, tag):
    out = s3.new_prefix()
    proxy.faults = [fault]
    done = tag(archive, "--out", out, "--cpus", "1")
    proxy.faults = ()
    assert done.code == 5, done.err
    assert done.err.splitlines()[-1].startswith("error: ")
    assert read_tables(out) == {}
    assert open_store(out).list("_log") == []
    assert record_of(out)["state"] == "failed"
    assert tag(archive, "--out", out, "--cpus", "1").code == 0
    assert_whole(out, archive, read_tables(out))


def test_a_part_that_fails_once(s3, proxy):
    store = open_store(s3.new_prefix())
    data = os.urandom(1 << 20) * 102
    retries = RetryCount()
    proxy.faults = [Fault("503 SlowDown", r"PUT .*partNumber=2", times=1)]
    store.write("large", data)
    assert proxy.spoilt["503 SlowDown"] == 1
    assert retries.n == 1
    assert store.scan("large", lambda file: file.read()) == data
    left = filesystem(store.root).call_s3("list_multipart_uploads", Bucket=s3.bucket)
    assert left.get("Uploads", []) == []
    store.remove(["large"])


def test_a_request_that_is_never_answered_is_repeated(s3, proxy, monkeypatch):
    monkeypatch.setattr("pipelines.storage.filesystems.ANSWER_S", 1)
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "impatient")  # another environment, another client
    store = open_store(s3.new_prefix())
    retries = RetryCount()
    proxy.faults = [Fault("silent", "PUT .*/x", times=1), Fault("silent", "GET .*/x", times=1)]
    store.write("x", b"data")
    assert store.read("x") == b"data"
    assert proxy.spoilt["silent"] == 2
    assert retries.n >= 2


@faults
def test_a_store_that_stops_for_longer_than_the_patience_ends_the_job_and_no_more(
    s3, proxy, archive, ray_cluster, begin_tag, tag
):
    out = s3.new_prefix()
    proxy.faults = [Fault("reset", r"PUT .*/_staging/", after=1, then=s3.kill)]
    flags = ["--cpus", "1", "--store-patience", "2"]
    process = begin_tag(archive, "--out", out, *flags, RAY_ADDRESS=ray_cluster)
    _, said = process.communicate()
    proxy.faults = ()
    s3.start()
    assert process.returncode == 6, said
    assert "no answer in 2 s" in said.splitlines()[-1]
    assert read_tables(out) == {}
    store = open_store(out)
    assert len(store.list("_staging")) >= 1
    assert len(store.list("_lock")) == 1  # which it could not remove
    assert [run["state"] for run in status(store).runs] == ["killed"]
    assert tag(archive, "--out", out, "--cpus", "1").code == 0
    assert record_of(out)["n_recovered_entries"] == 1
    assert_whole(out, archive, read_tables(out))
