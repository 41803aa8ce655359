"""``python -m pipelines VERB``: the verbs, their flags, logging, and exit codes.

Exit codes: 0 done · 1 a defect of the program · 2 the command cannot be carried out as given ·
3 no audio found · 4 done, but more clips failed than --max-failed allows · 5 a store refuses the
credentials · 6 a store does not answer · 130 and 143 interrupted by SIGINT and SIGTERM.
"""

import argparse
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NoReturn

from pipelines.cli import training_verbs
from pipelines.runtime.limits import PRECISIONS, Limits, Resources
from pipelines.runtime.signals import Interrupted, raise_on_signals
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.tagging.job import TagJob
from tagger.errors import CommandError, NoAudioError
from tagger.schema import EMBEDDING_DTYPES

LONGEST_LINE: Final = 1000


class Exit(IntEnum):
    """What a scheduler can tell apart; interruptions end with 128 plus the signal's number."""

    DONE = 0
    DEFECT = 1
    COMMAND = 2
    NO_AUDIO = 3
    OVER_BUDGET = 4
    ACCESS_DENIED = 5
    STORE_UNAVAILABLE = 6


def parser() -> argparse.ArgumentParser:
    """All verbs and flags."""
    top = argparse.ArgumentParser(
        prog="python -m pipelines", description="Tag archives of sound recordings."
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_tag(verbs.add_parser("tag", help="tag a collection of audio into Parquet tables"))
    _add_status(verbs.add_parser("status", help="what an output holds, and whether it is right"))
    _add_demo(verbs.add_parser("demo", help="tag a dozen synthesised recordings, or your own"))
    training_verbs.add(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--verbose", action="store_true", help="tell more on standard error")
    return top


def _add_tag(verb: argparse.ArgumentParser) -> None:
    default = {field: value.default for field, value in TagJob.__dataclass_fields__.items()}
    verb.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="file, folder, glob, s3:// prefix (or any fsspec URI), or a manifest: .txt, or .csv "
        "or .parquet with a uri column",
    )
    verb.add_argument("--out", metavar="OUT", help="folder or s3:// prefix of the tables")
    verb.add_argument("--model", default=default["model"], help="folder or URI of a model")
    verb.add_argument("--top-k", type=int, default=default["top_k"], help="tags per clip, at most")
    verb.add_argument("--threshold", type=float, default=default["threshold"], help="least score")
    verb.add_argument(
        "--no-embeddings", dest="embeddings", action="store_false", help="write no embeddings"
    )
    verb.add_argument(
        "--embedding-dtype",
        choices=list(EMBEDDING_DTYPES),
        default=default["embedding_dtype"],
        help="of the embeddings table",
    )
    verb.add_argument("--timeline", action="store_true", help="also write tags over time")
    verb.add_argument("--limit", type=int, help="work on so many clips at most")
    verb.add_argument(
        "--max-failed",
        type=float,
        default=default["max_failed"],
        help="fraction of clips that may fail before the exit code says so",
    )
    verb.add_argument("--retry-failed", action="store_true", help="take up final failures again")
    verb.add_argument(
        "--store-patience",
        dest="store_patience_s",
        type=float,
        metavar="SECONDS",
        default=default["store_patience_s"],
        help="how long to try again when a store stops answering",
    )
    how = verb.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="tell what would be done, do nothing")
    how.add_argument(
        "--print", action="store_true", help="tags straight to the terminal, no tables"
    )
    verb.add_argument("--json", action="store_true", help="results on standard output as JSON")
    _add_limits(verb.add_argument_group("limits of a clip"))
    _add_resources(verb.add_argument_group("resources"))
    verb.set_defaults(run=_tag)


def _add_status(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("out", metavar="OUT", help="folder or s3:// prefix of the tables")
    verb.add_argument("--verify", action="store_true", help="count all tables against the log")
    verb.add_argument("--json", action="store_true", help="the status as JSON")
    verb.set_defaults(run=_status)


def _add_demo(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("audio", nargs="?", metavar="INPUT", help="audio of your own")
    verb.set_defaults(run=_demo)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    limits = Limits()
    group.add_argument(
        "--clip-timeout",
        type=float,
        metavar="SECONDS",
        default=limits.clip_timeout_s,
        help="for decoding a clip, and as many again for every hour it holds",
    )
    group.add_argument(
        "--max-hours", type=float, default=limits.max_hours, help="longest recording, as decoded"
    )
    group.add_argument(
        "--clip-memory-mb", type=int, default=limits.memory_mb, help="memory to decode a clip in"
    )


def _add_resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cpus", type=int, help="CPU workers (default: all the cluster has)")
    group.add_argument("--gpus", type=int, help="GPU actors (default: all; 0: CPUs only)")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the extractors (default: bfloat16 on GPUs that compute in it, else float32)",
    )


def _tag(flags: argparse.Namespace, command: list[str]) -> Exit:
    from pipelines.cli import terminal as report
    from pipelines.tagging import preview
    from pipelines.tagging import run as tag

    if flags.out is None and not flags.print:
        raise CommandError("--out says where the tables go (or give --print)")
    job = _tag_job(flags)
    if flags.print:
        report.print_tags(job, flags.json)
        return Exit.DONE
    if flags.dry_run:
        report.show_preview(preview.preview(job), flags.json)
        return Exit.DONE
    record = tag.tag(job, command)
    report.show_summary(record, flags.json)
    return Exit.OVER_BUDGET if record.state == "over_budget" else Exit.DONE


def _status(flags: argparse.Namespace, command: list[str]) -> Exit:
    from pipelines.cli import terminal as report
    from pipelines.output import status
    from pipelines.storage.store import open_store

    found = status.status(open_store(flags.out), flags.verify)
    report.show_status(found, flags.json)
    return Exit.DEFECT if any(model.broken for model in found.models) else Exit.DONE


def _demo(flags: argparse.Namespace, command: list[str]) -> Exit:
    from pipelines.demo.run import demo

    demo(flags.audio)
    return Exit.DONE


def _tag_job(flags: argparse.Namespace) -> TagJob:
    given = vars(flags)
    same: dict[str, Any] = {
        name: given[name] for name in TagJob.__dataclass_fields__ if name in given
    }
    return TagJob(
        **same | {"inputs": tuple(flags.inputs), "out": flags.out or ""},
        limits=Limits(
            clip_timeout_s=flags.clip_timeout,
            max_hours=flags.max_hours,
            memory_mb=flags.clip_memory_mb,
        ),
        resources=Resources(cpus=flags.cpus, gpus=flags.gpus, precision=flags.precision),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    flags = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are in any script
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO if flags.verbose else logging.WARNING)
    try:
        code: int = flags.run(flags, list(sys.argv[1:] if arguments is None else arguments))
        return code
    except NoAudioError as error:
        return _say(error, Exit.NO_AUDIO)
    except CommandError as error:
        return _say(error, Exit.COMMAND)
    except AccessDenied as error:
        return _say(error, Exit.ACCESS_DENIED)
    except StoreUnavailable as error:
        return _say(error, Exit.STORE_UNAVAILABLE)
    except Exception as error:  # the one place where a defect is caught: to tell of it in a line
        at = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"a defect of this program: {type(error).__name__}"
        return _say(f"{kind}: {error} ({Path(at.filename).name}:{at.lineno})", Exit.DEFECT)
    except Interrupted as interrupt:
        _say(interrupt, Exit.DEFECT)
        # Ray's shutdown may take longer than a scheduler waits; its processes end with this one.
        os._exit(interrupt.exit_code)


def _say(error: BaseException | str, code: Exit) -> Exit:
    text = " ".join(str(error).split())
    sys.stderr.write(f"error: {text if len(text) < LONGEST_LINE else text[:LONGEST_LINE] + ' …'}\n")
    return code


def run() -> NoReturn:
    """Carry out the command of this process and end it."""
    raise_on_signals()
    sys.exit(main())
