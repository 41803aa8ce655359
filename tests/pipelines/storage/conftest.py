"""A proxy before the S3 server, for the tests of this package."""

from collections.abc import Iterator

import pytest

from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Server


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """All S3 traffic of the test passes through it; it has no faults yet."""
    through = S3Proxy(0, s3.ports[0])
    monkeypatch.setenv("AWS_ENDPOINT_URL", through.url)
    yield through
    through.close()
