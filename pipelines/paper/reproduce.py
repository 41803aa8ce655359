"""``reproduce``: the paper's tables on a data set, with the paper's figures beside ours.

Every step leaves out what the work folder holds already, so the same command goes on where it was
stopped, and rows share prepared patches, extractors, embeddings and heads.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from pipelines.output import layout
from pipelines.output.run_records import RunState
from pipelines.paper import report
from pipelines.paper.jobs import ReproduceJob
from pipelines.paper.recipes import EXTRACTORS, ROWS, Row
from pipelines.paper.settings import SETTINGS, Setting, Start
from pipelines.storage.store import Store, open_store
from pipelines.training import embed, evaluate, finetune, fit, pictures, prepare
from pipelines.training.evaluate import METRICS
from pipelines.training.jobs import EmbedJob, EvaluateJob, FinetuneJob, FitJob
from pipelines.training.specs import SCRATCH, ExtractorSpec
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.workfolder.patches import open_prepared
from tagger.errors import OptionError

VERB: Final = "reproduce"

Extractors = Mapping[str, list[ExtractorSpec]]
"""The extractors of each recipe, one for every set of test clips."""


def run(
    job: ReproduceJob, command: list[str], settings: Mapping[str, Setting] = SETTINGS
) -> StepRecord:
    """Carry out ``reproduce``.

    Parameters
    ----------
    settings : those that ``job.setting`` may name

    Raises
    ------
    CommandError : no such setting or row, or one that cannot be run
    """
    if job.setting not in settings:
        raise OptionError("setting", f"must be one of {', '.join(settings)}")
    rows = chosen_rows(job)
    start = Start(job.start, finetune.vggish_of(job.start))
    setting = settings[job.setting]
    store = open_store(job.work)
    preparation = setting.prepare(job.data, job.work, job.seed)
    prepare.run(replace(preparation, layout=job.layout), command)
    prepared = open_prepared(store)
    with recorded(store, VERB, command, job, prepared.fingerprint) as record:
        names = [name for row in rows for name in row.extractors]
        extractors = setting.extractors(names, prepared.dataset, start, job.seed)
        _train(job, setting, rows, extractors, command)
        record.metrics["rows"] = {row.key: _evaluate(job, row, extractors, command) for row in rows}
        _write_report(store, shlex.join(("python", "-m", "pipelines", *command)), _one_row(job))
    return record


def chosen_rows(job: ReproduceJob) -> list[Row]:
    """The rows that were asked for, or all that can be run.

    Raises
    ------
    CommandError : no such row, or the original VGGish without its weights
    """
    known = {row.key: row for row in ROWS}
    if unknown := [key for key in job.rows if key not in known]:
        raise OptionError("rows", f"has no {', '.join(unknown)}; there are {', '.join(known)}")
    impossible = [row.key for row in ROWS if job.start == SCRATCH and _needs_start(row)]
    if refused := [key for key in job.rows if key in impossible]:
        raise OptionError("start", f"must name VGGish's own weights for row {refused[0]}")
    return [known[key] for key in job.rows or known if key not in impossible]


def _needs_start(row: Row) -> bool:
    return any(not EXTRACTORS[name].trained for name in row.extractors)


def _train(
    job: ReproduceJob,
    setting: Setting,
    rows: list[Row],
    extractors: Extractors,
    command: list[str],
) -> None:
    """Train every network that the rows need."""
    every = tuple(spec for specs in extractors.values() for spec in specs)
    finetune.run(FinetuneJob(work=job.work, extractors=every, resources=job.resources), command)
    embeddable = {
        name: tuple(spec.name for spec in specs)
        for name, specs in extractors.items()
        if not EXTRACTORS[name].baseline
    }
    if embeddable:
        upon = tuple(chain.from_iterable(embeddable.values()))
        embed.run(EmbedJob(work=job.work, extractors=upon), command)
    for trained in (True, False):  # the original VGGish gets the heads of its own row alone
        names = [name for name in embeddable if EXTRACTORS[name].trained is trained]
        upon = tuple(chain.from_iterable(embeddable[name] for name in names))
        heads = [head for row in rows for head in row.heads if set(row.extractors) & set(names)]
        if specs := setting.heads(heads, job.seed):
            fit.run(
                FitJob(work=job.work, extractors=upon, heads=specs, resources=job.resources),
                command,
            )


def _evaluate(
    job: ReproduceJob, row: Row, extractors: Extractors, command: list[str]
) -> dict[str, Any]:
    """Figures of one row."""
    members = tuple(
        (head, spec.name)
        for head in row.heads
        for name in row.extractors
        for spec in extractors[name]
    )
    record = evaluate.run(EvaluateJob(work=job.work, name=row.key, members=members), command)
    return record.metrics


def _write_report(store: Store, made_by: str, one_row: str) -> None:
    """The report of all rows that the work folder holds, those of earlier commands too."""
    done = set(store.list("evaluations"))
    paths = {row.key: f"evaluations/{row.key}/{METRICS}" for row in ROWS}
    figures = {key: json.loads(store.read(path)) for key, path in paths.items() if path in done}
    rows = [row for row in ROWS if row.key in figures]
    trained = report.networks(store)
    text = report.markdown(rows, figures, trained, _costs(store), made_by, one_row)
    store.write("report/report.md", text.encode())
    store.write("report/report.json", json.dumps(figures, indent=2, allow_nan=False).encode())
    histories = {
        kind: [record["history"] for record in records] for kind, records in trained.items()
    }
    store.write("report/curves.png", pictures.curves(histories))


def _costs(store: Store) -> list[tuple[str, float]]:
    """Verb and seconds of every step that ended in the work folder, in order."""
    records = [json.loads(store.read(path)) for path in store.list(layout.RUNS)]
    return [
        (record["verb"], record["wall_s"])
        for record in records
        if record["verb"] != VERB and record["state"] != RunState.RUNNING
    ]


def _one_row(job: ReproduceJob) -> str:
    """The command of one row, up to its key."""
    words = ["python", "-m", "pipelines", "reproduce", job.data, "--work", job.work]
    words += ["--layout", job.layout] if job.layout else []
    words += ["--setting", job.setting, "--start", job.start, "--seed", str(job.seed), "--rows"]
    return shlex.join(words)
