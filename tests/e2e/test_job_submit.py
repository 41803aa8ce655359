"""``ray job submit --working-dir . -- python -m pipelines tag …`` against a real head.

Nothing of this repository is installed: what runs is what the command uploads.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from tests.support.commands import ROOT
from tests.support.sounds import write_sound
from tests.support.tables import read_tables

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repository's packages, as a clone has them."""
    copy = tmp_path_factory.mktemp("clone")
    for name in ("tagger", "pipelines"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", copy)
    return copy


@pytest.fixture(scope="module")
def client(head):
    """Of a head that takes jobs; its agent comes up some seconds after it."""
    for _ in range(120):
        try:
            client = JobSubmissionClient(f"http://127.0.0.1:{head.dashboard}")
            client.submit_job(entrypoint="true")
            return client
        except (OSError, RuntimeError):
            time.sleep(0.5)
    raise RuntimeError((head.folder / "log").read_text())


def test_a_submitted_job_runs_from_the_uploaded_folder(
    client, head, checkout, tmp_path, tiny_model
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    installed = subprocess.run(
        [sys.executable, "-c", "import pipelines"], cwd=elsewhere, env=environment, check=False
    )
    assert installed.returncode == 1, "the package must not be installed"

    write_sound(tmp_path / "in" / "one sound.wav")
    write_sound(tmp_path / "in" / "another.ogg")
    out = str(tmp_path / "out")
    submit = [str(Path(sys.executable).with_name("ray")), "job", "submit"]
    submit += ["--address", f"http://127.0.0.1:{head.dashboard}", "--working-dir", str(checkout)]
    submit += ["--submission-id", "nightly-1", "--"]
    command = ["python", "-m", "pipelines", "tag", str(tmp_path / "in"), "--out", out]
    done = subprocess.run(
        [*submit, *command, "--model", str(tiny_model)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "complete: run " in done.stdout
    assert client.get_job_info("nightly-1").driver_exit_code == 0
    assert len(read_tables(out)["clips"]) == 2


def test_exit_codes_arrive_through_the_client(client, checkout, tmp_path, tiny_model):
    (tmp_path / "in").mkdir()
    job = client.submit_job(
        entrypoint=f"python -m pipelines tag '{tmp_path}/in' --out '{tmp_path}/out' "
        f"--model '{tiny_model}'",
        runtime_env={"working_dir": str(checkout)},
    )
    while not client.get_job_status(job).is_terminal():
        time.sleep(0.5)
    assert client.get_job_info(job).driver_exit_code == 3
    assert "no audio in" in client.get_job_logs(job)
