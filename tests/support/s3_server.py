"""A real S3 server, SeaweedFS, for tests and benchmarks."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from pipelines.storage.store import open_store

ACCESS_KEY = "tester"
SECRET_KEY = "a-secret-of-the-tests"


def free_ports(n: int) -> list[int]:
    """Return ``n`` free loopback ports.

    Neither they nor their 10000th neighbours (SeaweedFS's gRPC) are among those that the system
    hands out by itself, so nothing takes one while its server is down.
    """
    found: list[int] = []
    while len(found) < n:
        port = random.randrange(12_000, 22_000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


@dataclass
class S3Server:
    """SeaweedFS with one bucket; can be killed and started again on the same port and data."""

    folder: Path
    bucket: str = "tests"
    ports: list[int] = field(default_factory=lambda: free_ports(10))
    process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports[0]}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "filer.port"]
        names += ["filer.port.grpc", "volume.port", "volume.port.grpc", "admin.port"]
        names += ["admin.port.grpc"]
        flags = [f"-{name}={port}" for name, port in zip(names, self.ports, strict=True)]
        flags += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}", "-webdav=false"]
        flags += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        flags += ["-admin.ui=false", "-s3.autoCreateBucket=false", f"-bucket={self.bucket}"]
        weed = Path(sys.executable).with_name("weed")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(weed if weed.exists() else shutil.which("weed")), "mini", *flags],
                env={**os.environ, **self.env, "TMPDIR": str(self.folder)},  # of its logs
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait()

    def wait(self) -> None:
        with patch.dict(os.environ, self.env):
            store = open_store(f"s3://{self.bucket}", patience_s=60)
            for _ in range(300):
                try:
                    return store.write("ready", b"")
                except FileNotFoundError:  # the bucket is created a little later
                    time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())

    def kill(self) -> None:
        """End it without warning, and remove its sockets, which do not lie in its folder."""
        if self.process:
            self.process.kill()
            self.process.wait()
        for port in self.ports:
            for socket_ in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket_.unlink()

    def new_prefix(self) -> str:
        """Return an ``s3://`` URL below which nothing is."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex}"
