"""``export``: the events of an output as label files, one for each recording or one for all."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from pipelines.exporting.jobs import ExportJob
from pipelines.exporting.label_files import FORMATS, Label
from pipelines.output.query import answer
from pipelines.output.views import quoted
from pipelines.storage.store import Store, open_store
from pipelines.storage.tidying import tidy
from tagger.errors import CommandError

CSV_FILE: Final = "events.csv"
COLUMNS: Final = ("uri", "tag", "mid", "start_s", "end_s", "peak_score", "mean_score")
"""Of the CSV file."""


@dataclass(frozen=True)
class Exported:
    """How many files were written, and the events in them."""

    n_files: int
    n_events: int


def export(job: ExportJob) -> Exported:
    """Write the label files.

    Raises
    ------
    CommandError : no output, one without events, or an output that lacks a recording asked for
    AccessDenied, StoreUnavailable : a store gave out
    """
    tables = open_store(job.out, job.store_patience_s)
    to = open_store(job.to, job.store_patience_s)
    _require(tables, job)
    with answer(tables, _question(job), job.model) as batches:
        rows = (row for batch in batches for row in batch.to_pylist())
        if job.format == "csv":
            done = _one_file(to, rows)
        else:
            done = _file_for_each(to, job.format, rows, _common(tables, job))
    tidy(to)
    return done


def _question(job: ExportJob) -> str:
    return f"""
        SELECT uri, tag, events.mid, start_s, end_s, peak_score, mean_score, duration_s
        FROM current_events AS events JOIN current_clips AS clips USING (clip_id, uri)
        WHERE peak_score >= {job.min_score!r} {_among("tag", job.tag)} {_among("uri", job.clip)}
        ORDER BY uri, start_s, tag"""  # noqa: S608 (texts are quoted; answer() only reads)


def _among(column: str, values: Iterable[str]) -> str:
    listed = ", ".join(f"'{quoted(value)}'" for value in values)
    return f"AND {column} IN ({listed})" if listed else ""


def _require(tables: Store, job: ExportJob) -> None:
    """CommandError where the output has no such recording, or no table of events."""
    if job.clip:
        question = f"SELECT uri FROM current_clips WHERE true {_among('uri', job.clip)}"  # noqa: S608
        found = {row["uri"] for row in _rows(tables, question, job)}
        if missing := [uri for uri in job.clip if uri not in found]:
            raise CommandError(f"{job.out} has no recording {missing[0]}: the column uri names all")
    if not tables.list("events"):
        raise CommandError(
            f"{job.out} has no events: it was begun by an earlier version; retag adds them"
        )


def _common(tables: Store, job: ExportJob) -> str:
    """The folder that all recordings of the output lie in, which the names of files leave out."""
    question = "SELECT min(uri) AS first, max(uri) AS last FROM current_clips"
    ((first, last),) = ((row["first"], row["last"]) for row in _rows(tables, question, job))
    alike = 0
    if first is not None:
        while alike < min(len(first), len(last)) and first[alike] == last[alike]:
            alike += 1
        alike = first.rfind("/", 0, alike) + 1
    return first[:alike] if first is not None else ""


def _rows(tables: Store, question: str, job: ExportJob) -> list[dict[str, Any]]:
    with answer(tables, question, job.model) as batches:
        return [row for batch in batches for row in batch.to_pylist()]


def _file_for_each(to: Store, kind: str, rows: Iterable[dict[str, Any]], common: str) -> Exported:
    suffix, write = FORMATS[kind]
    n_files = n_events = 0
    for uri, of_one in groupby(rows, lambda row: row["uri"]):
        events = list(of_one)
        labels = [Label(e["tag"], e["start_s"], e["end_s"], e["peak_score"]) for e in events]
        text = write(labels, events[0]["duration_s"])
        to.write(file_name(uri, common) + suffix, text.encode())
        n_files, n_events = n_files + 1, n_events + len(events)
    return Exported(n_files, n_events)


def _one_file(to: Store, rows: Iterator[dict[str, Any]]) -> Exported:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    n_events = 0
    for row in rows:
        writer.writerow(row)
        n_events += 1
    to.write(CSV_FILE, sink.getvalue().encode())
    return Exported(1, n_events)


def file_name(uri: str, common: str) -> str:
    """The name of a recording's file, without its end: the URI below the common folder.

    Names of recordings are not trusted: no part of the name leads out of the folder.
    """
    special = {"": "%", ".": "%2E", "..": "%2E%2E"}
    parts = uri.removeprefix(common).replace("\0", "%00").split("/")
    return "/".join(special.get(part, part) for part in parts)
