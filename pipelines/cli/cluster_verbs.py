"""The verb that has a cluster carry out another one."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipelines.cli.exit_codes import Exit
from pipelines.cli.parsing import parse, suggestion
from pipelines.cli.verb import Verb, in_words, options
from pipelines.runtime import standard_streams
from pipelines.runtime.errors import ClusterLost
from pipelines.runtime.submission import SubmitJob, Submitted, submit
from pipelines.runtime.visible import visible
from tagger.errors import CommandError, OptionError


@dataclass(frozen=True, kw_only=True)
class Submit(Verb):
    """Have a Ray cluster carry out another command, follow it, and end with its exit code.

    Needs a cluster whose nodes have the packages of requirements.lock and access to the buckets.
    This repository's two packages are uploaded; nothing else of it has to be there.

    Leaves what the command leaves. Its output is shown as it comes. If the command has --json, that
    output goes to standard error, and standard output holds the results alone. Ctrl-C ends the
    following and not the job.

    Example::

        python -m pipelines submit --address http://head:8265 tag s3://archive/ --out s3://tables
    """

    job: SubmitJob

    command: tuple[str, ...] = field(metadata={"positional": True, "metavar": "COMMAND"})
    """The command with its own options, such as tag s3://archive/ --out s3://tables. Options of
    submit stand before it."""

    @classmethod
    def parse(cls, words: Sequence[str]) -> dict[str, Any]:
        from pipelines.cli.verbs import VERBS

        verbs = [name for name in VERBS if VERBS[name] is not cls]
        start = next((i for i, word in enumerate(words) if word in verbs), None)
        if start is None:
            closest = suggestion(words[-1], verbs) if words else ""
            raise CommandError(f"submit needs a command: {', '.join(verbs)}{closest}")
        own = [option for option in options(cls) if not option.positional]
        name, *inner = words[start:]
        try:  # what is wrong with it is told before any upload
            VERBS[name].of(VERBS[name].parse(inner))
        except OptionError as error:
            raise CommandError(in_words(error, VERBS[name])) from error
        return parse(own, words[:start]) | {"command": (name, *inner)}

    def run(self, command: list[str]) -> Exit:
        from pipelines.cli.terminal import show_lines, show_report

        as_json = "--json" in self.command
        done = submit(self.job, list(self.command), partial(_show, as_json))
        if not self.job.wait:
            show_lines([f"submitted: job {done.job_id}", *done.hints.splitlines()])
            return Exit.DONE
        if as_json:
            show_report(_results(done))
        return _exit_code(done)


def _show(as_json: bool, said: str) -> None:
    """Some of what the job has said, which may end in the middle of a line."""
    lines = "\n".join(map(visible, said.split("\n")))
    standard_streams.tell(lines, sys.stderr if as_json else sys.stdout)


def _exit_code(done: Submitted) -> Exit:
    """The command's own; 143 where the job was stopped, 7 where its process was killed."""
    if done.exit_code is None:
        return Exit.TERMINATED
    if done.exit_code < 0:
        raise ClusterLost(f"job {done.job_id} was killed: start the same command again")
    return next((code for code in Exit if code == done.exit_code), Exit.DEFECT)


def _results(done: Submitted) -> str:
    """The JSON at the end of what a job has said; "" where it ended without."""
    lines = done.output.splitlines()
    begins = [i for i, line in enumerate(lines) if line == "{"]
    return "\n".join(lines[begins[-1] :]) if begins else ""
