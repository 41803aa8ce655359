"""Shared by all tests: an S3 server, Ray, a browser, a tiny model, an output of each kind, rows."""

import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.output.settings import Settings
from pipelines.storage.store import Store
from tagger import schema
from tagger.errors import Reason
from tests.support.s3_server import S3Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.browser import Visit

# Of the tests' own clusters; read when ray is imported. The second has them bind to loopback.
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.fixture(scope="session", autouse=True)
def _temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove all temporary files of tests and of their processes in the end, Ray's among them.

    The folder has a short name, since Ray's sockets lie below it.
    """
    tmp_path_factory.getbasetemp()  # lies where pytest keeps those of its last runs
    folder = tempfile.TemporaryDirectory(prefix="tests-", dir="/tmp", ignore_cleanup_errors=True)
    with folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder.name)
        patch.setattr(tempfile, "tempdir", folder.name)
        patch.delenv("RAY_TMPDIR", raising=False)
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("weed"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The session's S3 server, with the test's environment pointing to it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium.

    It ends with the module, since Playwright's event loop runs in this thread as long.
    """
    from tests.support import browser

    with browser.started() as chromium:
        yield chromium


@pytest.fixture
def visit(browser: "Browser") -> Iterator["Visit"]:
    """An empty page of a window of its own, with ``errors`` and what it ``reached`` for."""
    from tests.support.browser import visit

    with visit(browser) as seen:
        yield seen


@pytest.fixture
def drop_root() -> Iterator[Callable[[], None]]:
    """``drop_root()``: from now on the test has the rights of an ordinary user."""
    user = os.geteuid()

    def drop() -> None:
        if user == 0:
            os.seteuid(65534)

    yield drop
    os.seteuid(user)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def out_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty output: a local folder, then an S3 prefix."""
    if request.param == "local":
        return str(tmp_path / "out")
    return request.getfixturevalue("s3").new_prefix()


@pytest.fixture
def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local writes without waiting for the disk, where no power is cut."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="session")
def ray_cluster(s3_server: S3Server) -> Iterator[str]:
    """Ray with four logical CPUs, which this process has joined; its address.

    Its workers have the S3 server in their environment.
    """
    import ray
    import ray.data

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in s3_server.env.items():
            patch.setenv(name, value)
        context = ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=300 << 20,
            log_to_driver=False,
        )
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        ray.data.DataContext.get_current()  # Ray uses what it deprecates
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two extractors, two members and three labels, small and untrained."""
    from tests.support.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("model"))


def _staged_table(
    rows: Sequence[tuple[str, str | None, str]], note: str = "", dtype: str = "float32"
) -> pa.Table:
    """Build what a worker would stage: rows of (clip, reason or None, run).

    A tagged clip has 2 tags, 6 embeddings (2 extractors, 3 segments) and one bag; ``note`` ends up
    in ``clips.extra`` and ``failures.detail``, to tell attempts apart.
    """
    built = []
    for clip, reason, run_id in rows:
        row = {
            "clip_id": clip,
            "uri": f"file:///{clip}",
            "version": "1",
            "model_id": "m-1",
            "processed_at": datetime(2026, 11, 22, tzinfo=UTC),
            "run_id": run_id,
        }
        if reason is not None:
            final = Reason(reason).final
            built.append(row | {"stage": "read", "reason": reason, "detail": note, "final": final})
            continue
        spans = [{"segment": i, "start_s": i * 0.96, "end_s": (i + 1) * 0.96} for i in range(3)]
        built.append(
            row
            | {"size_bytes": 10, "duration_s": 2.88, "sample_rate_hz": 44100, "channels": 1}
            | {"content_start_s": 0.0, "content_end_s": 2.88, "peak": 1.0, "n_segments": 3}
            | {"extra": note, "tags": [_tag(1, "Rain", 0.75), _tag(2, "Dog", 0.25)]}
            | {"events": [{"tag": "Rain", "start_s": 0.0, "end_s": 2.88, "peak_score": 0.75}]}
            | {"timeline": [{"bag": 0, "start_s": 0.0, "end_s": 2.88, "attention": [0.5] * 3}]}
            | {"embedding_rows": [{"extractor": e} | s for e in "ab" for s in spans]}
            | {"embedding_values": np.repeat(np.arange(6, dtype=dtype), 128)}
        )
    return pa.Table.from_pylist(built, schema=schema.staged(dtype))


def _tag(rank: int, tag: str, score: float) -> dict[str, object]:
    return {"rank": rank, "tag": tag, "mid": f"/m/{rank}", "score": score}


@pytest.fixture(scope="session")
def staged_table() -> Callable[..., pa.Table]:
    """Build a table of staged rows; see ``_staged_table``."""
    return _staged_table


def _read_table(store: Store, table: str) -> pa.Table:
    files = [pq.read_table(io.BytesIO(store.read(path))) for path in store.list(table)]
    empty = schema.tables("float32")[table].empty_table()
    return pa.concat_tables([empty, *(file.replace_schema_metadata() for file in files)])


@pytest.fixture(scope="session")
def read_table() -> Callable[[Store, str], pa.Table]:
    """Read all files of a table."""
    return _read_table


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Settings of an output with all tables."""
    tables = tuple(schema.tables("float32"))
    return Settings(tables, 5, 0.0, "float32", "test")
