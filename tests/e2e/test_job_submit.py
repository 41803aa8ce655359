"""``ray job submit --working-dir . -- python -m pipelines tag …`` against a real head.

Nothing of this repository is installed: what runs is what the command uploads.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from pipelines.runtime.submission import SubmitJob, submit
from tagger.errors import CommandError, OptionError
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


@pytest.mark.faults  # with Ray's own command; ours below does the same
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
    command = [
        "python",
        "-m",
        "pipelines",
        "tag",
        str(tmp_path / "in"),
        "--out",
        out,
        "--cpus",
        "1",
    ]
    done = subprocess.run(
        [*submit, *command, "--model", str(tiny_model), "--verbose"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "complete: run " in done.stdout
    assert re.search(r"INFO pipelines\S+: worker \d+ on .*: batch 0: ", done.stdout)
    assert client.get_job_info("nightly-1").driver_exit_code == 0
    assert len(read_tables(out)["clips"]) == 2


@pytest.fixture
def address(client, head):
    """Of a dashboard that takes jobs."""
    return f"http://127.0.0.1:{head.dashboard}"


def test_a_submitted_command_ends_as_itself(address, tmp_path, tiny_model):
    write_sound(tmp_path / "in" / "one sound.wav")
    command = ["tag", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json", "--cpus", "1"]
    shown = []
    done = submit(SubmitJob(address=address), [*command, "--model", str(tiny_model)], shown.append)
    assert (done.exit_code, done.output) == (0, "".join(shown))
    summary = json.loads(done.output[done.output.index("{\n") :])
    assert (summary["state"], summary["n_tagged"]) == ("complete", 1)

    (tmp_path / "nothing").mkdir()
    command[1] = str(tmp_path / "nothing")
    assert submit(SubmitJob(address=address), command, shown.append).exit_code == 3
    assert "no audio in" in shown[-1]


def test_a_job_that_is_not_waited_for_can_be_followed_and_stopped(address, client, tmp_path):
    waiting = ["demo", str(tmp_path / "nowhere")]
    job = SubmitJob(address=address, wait=False, submission_id="night")
    submitted = submit(job, waiting, lambda part: None)
    assert submitted.exit_code is None
    assert submitted.hints.splitlines() == [
        f"follow: ray job logs --address {address} --follow night",
        f"stop: ray job stop --address {address} night",
    ]
    while not client.get_job_status("night").is_terminal():
        time.sleep(0.2)
    assert client.get_job_info("night").driver_exit_code == 2
    with pytest.raises(CommandError, match=r"refuses the job: .*night"):
        submit(job, waiting, lambda part: None)


def test_what_cannot_be_submitted_is_told(monkeypatch):
    with pytest.raises(CommandError, match=r"no Ray dashboard answers at http://127\.0\.0\.1:9"):
        submit(SubmitJob(address="http://127.0.0.1:9"), ["status", "x"], lambda part: None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    for wrong in (
        {"env": ("AWS_SECRET_ACCESS_KEY",)},
        {"env": ("NOT_SET_HERE",)},
        {"address": "x:1"},
    ):
        with pytest.raises(OptionError) as told:
            SubmitJob(**wrong)
        assert "hidden" not in str(told.value)
