"""A command of this program as a job of a Ray cluster: upload, follow, and end as it ends.

Ray's own ``ray job submit`` knows the exit codes 0 and 1 only; here the caller learns the job's.
Nothing of this repository has to be installed on the cluster: its two packages are uploaded, and
nothing beside them.
"""

import asyncio
import logging
import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.runtime.errors import ClusterLost
from tagger.errors import CommandError, OptionError

_log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("pipelines", "tagger")

STOP_S: Final = 10
"""Between SIGTERM and SIGKILL when a job is stopped; it needs two seconds to end in good order."""

_ANSWER_S: Final = 30.0
"""Without an answer for so long, the cluster counts as lost."""

_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True, kw_only=True)
class SubmitJob:
    """Where and how a command runs as a job."""

    address: str = "http://127.0.0.1:8265"
    """Address of the cluster's dashboard, http://HEAD:8265. `ray dashboard cluster.yaml` brings it
    to this machine."""

    wait: bool = True
    """Return as soon as the job is submitted, and tell how to follow and to stop it, instead of
    following it to its end."""

    submission_id: str | None = None
    """Name of the job, such as nightly-2026-11-26. A name can be used once: a second job of that
    name is refused, which keeps a night's job from running twice. Left out: Ray makes one."""

    env: tuple[str, ...] = ()
    """Names of environment variables of this machine that the job is to have as well, such as
    AWS_ENDPOINT_URL. Everybody who may look at the cluster's jobs can read them: keys, tokens and
    passwords are refused, give those to the nodes."""

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise OptionError("address", "must be the dashboard's, such as http://127.0.0.1:8265")
        for name in self.env:
            if any(word in name.upper() for word in _SECRET):
                raise OptionError("env", f"takes no secrets: give {name} to the cluster's nodes")
            if name not in os.environ:
                raise OptionError("env", f"names {name}, which is not set here")


@dataclass
class Submitted:
    """A job that the cluster has taken.

    Attributes
    ----------
    job_id : Ray's name of it
    exit_code : of the command; None while it runs, or where it was stopped or lost
    message : how it ended, in Ray's words
    output : what it has said so far
    """

    job_id: str
    address: str
    exit_code: int | None = None
    message: str = ""
    output: str = ""

    @property
    def hints(self) -> str:
        """How to follow and to stop it."""
        return "\n".join(
            f"{what}: ray job {verb} --address {shlex.quote(self.address)} {flag}{self.job_id}"
            for what, verb, flag in (("follow", "logs", "--follow "), ("stop", "stop", ""))
        )


def submit(job: SubmitJob, command: list[str], show: Callable[[str], object]) -> Submitted:
    """Have the cluster carry out ``python -m pipelines COMMAND``.

    Parameters
    ----------
    command : the verb and its flags
    show : is given the job's output, some of it at a time, while it runs

    Raises
    ------
    CommandError : no cluster there, or it refuses the job
    ClusterLost : it went away while the job was followed
    """
    client = _client(job.address)
    variables = {name: os.environ[name] for name in job.env}
    environment: dict[str, Any] = {
        "working_dir": str(ROOT),
        "excludes": [*_beside_packages(), "__pycache__"],
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **variables},
    }
    with _refusals(job.address):
        job_id = client.submit_job(
            entrypoint=shlex.join(["python", "-m", "pipelines", *command]),
            runtime_env=environment,
            submission_id=job.submission_id,
        )
    submitted = Submitted(job_id, job.address)
    if job.wait:
        _follow(client, submitted, show)
    return submitted


def _beside_packages() -> list[str]:
    """Patterns of what lies beside the packages: recordings and tables may be large."""
    return [f"/{path.name}" for path in ROOT.iterdir() if path.name not in PACKAGES]


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    for name in ("ray", "ray.dashboard"):  # they tell of every file that is left out
        logging.getLogger(name).setLevel(logging.ERROR)
    with _refusals(address):
        return JobSubmissionClient(address)


@contextmanager
def _refusals(address: str) -> Iterator[None]:
    """Around a request to the dashboard: what it refuses is the command's mistake."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise CommandError(
            f"{address} asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH"
        ) from error
    except OSError as error:
        raise CommandError(
            f"no Ray dashboard answers at {address}: give the address of a head's dashboard, or "
            "forward it with `ray dashboard cluster.yaml`"
        ) from error
    except RuntimeError as error:
        raise CommandError(f"{address} refuses the job: {' '.join(str(error).split())}") from error


def _follow(client: Any, submitted: Submitted, show: Callable[[str], object]) -> None:
    """Show the job's output until it has ended; note how."""
    import aiohttp

    lost = ClusterLost(
        f"{submitted.address} answers no more while job {submitted.job_id} ran: look at the "
        "cluster, and start the same command again"
    )
    heard = time.monotonic()
    while time.monotonic() - heard < _ANSWER_S:
        try:
            ended = client.get_job_status(submitted.job_id).is_terminal()
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                asyncio.run(_show_more(client, submitted, show))  # Ray uses what aiohttp deprecates
            if ended:
                info = client.get_job_info(submitted.job_id)
                submitted.exit_code, submitted.message = info.driver_exit_code, info.message or ""
                return
            heard = time.monotonic()
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            _log.info("following %s: trying again after %s", submitted.job_id, error)
        time.sleep(0.5)
    raise lost


async def _show_more(client: Any, submitted: Submitted, show: Callable[[str], object]) -> None:
    """Show what the job has said since; each connection to its log begins from the start."""
    n_before = 0
    async for part in client.tail_job_logs(submitted.job_id):
        new = part[max(0, len(submitted.output) - n_before) :]
        n_before += len(part)
        submitted.output += new
        if new:
            show(new)
