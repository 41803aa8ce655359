"""``reproduce``: the paper's tables on a data set, with the paper's figures beside ours.

Every step leaves out what the work folder holds already, so the same command goes on where it was
stopped, and rows share prepared patches, extractors, embeddings and heads.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pipelines.output import layout
from pipelines.output.run_records import RunState
from pipelines.paper import report as comparison
from pipelines.paper.jobs import ReproduceJob
from pipelines.paper.recipes import ALL_FOUR, BASELINE, ORIGINAL, ROWS, SETTINGS, Row, Setting
from pipelines.storage.store import Store, open_store
from pipelines.training import embed, evaluate, finetune, fit, prepare
from pipelines.training.evaluate import METRICS
from pipelines.training.jobs import (
    SCRATCH,
    EmbedJob,
    EvaluateJob,
    ExtractorSpec,
    FinetuneJob,
    FitJob,
)
from pipelines.training.step_records import TrainRecord, recorded
from pipelines.training.workfolder.patches import open_prepared
from tagger.errors import CommandError

VERB: Final = "reproduce"


def run(
    job: ReproduceJob, command: list[str], settings: Mapping[str, Setting] = SETTINGS
) -> TrainRecord:
    """Carry out ``reproduce``; ``settings`` are those that ``job.setting`` may name."""
    if job.setting not in settings:
        raise CommandError(f"no setting {job.setting!r}; there are {', '.join(settings)}")
    rows = chosen(job)
    finetune.vggish_of(job.start)
    setting = settings[job.setting]
    store = open_store(job.work)
    preparation = setting.prepare(job.data, job.work, job.seed)
    prepare.run(replace(preparation, layout=job.layout), command)
    prepared = open_prepared(store)
    with recorded(store, VERB, command, job, prepared.info["fingerprint"]) as record:
        kinds = [kind for row in rows for kind in row.extractors]
        extractors = setting.extractors(kinds, prepared.dataset, job.start, job.seed)
        _train(job, setting, rows, extractors, command)
        figures = {row.key: _evaluate(job, row, extractors, store, command) for row in rows}
        record.metrics |= {"rows": figures}
        _report(store, shlex.join(("python", "-m", "pipelines", *command)), _one_row(job))
    return record


def _report(store: Store, made_by: str, one_row: str) -> None:
    """The report of all rows that the work folder holds, those of earlier commands too."""
    done = set(store.list("evaluations"))
    paths = {row.key: f"evaluations/{row.key}/{METRICS}" for row in ROWS}
    figures = {key: json.loads(store.read(path)) for key, path in paths.items() if path in done}
    rows = [row for row in ROWS if row.key in figures]
    trained = comparison.networks(store)
    report = comparison.markdown(rows, figures, trained, _costs(store), made_by, one_row)
    store.write("report/report.md", report.encode())
    store.write("report/report.json", json.dumps(figures, indent=2, allow_nan=False).encode())
    store.write("report/curves.png", comparison.curves(trained))


def chosen(job: ReproduceJob) -> list[Row]:
    """The rows that were asked for, or all that can be run.

    Raises
    ------
    CommandError : no such row, or the original VGGish without its weights
    """
    known = {row.key: row for row in ROWS}
    if unknown := [key for key in job.rows if key not in known]:
        raise CommandError(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    original = [row.key for row in ROWS if ORIGINAL in row.extractors]
    if job.start == SCRATCH and set(original) & set(job.rows):
        raise CommandError(f"row {original[0]} needs VGGish's own weights: give --start")
    skipped = original if job.start == SCRATCH else []
    return [known[key] for key in job.rows or known if key not in skipped]


def _train(
    job: ReproduceJob,
    setting: Setting,
    rows: list[Row],
    extractors: dict[str, list[ExtractorSpec]],
    command: list[str],
) -> None:
    """Every network that the rows need."""
    every = tuple(spec for specs in extractors.values() for spec in specs)
    finetune.run(FinetuneJob(work=job.work, extractors=every, resources=job.resources), command)
    embedded = {
        kind: tuple(s.name for s in specs) for kind, specs in extractors.items() if kind != BASELINE
    }
    names = tuple(name for kind in embedded for name in embedded[kind])
    if not names:
        return
    embed.run(EmbedJob(work=job.work, extractors=names), command)
    for kinds in (ALL_FOUR, (ORIGINAL,)):
        heads = [head for row in rows for head in row.heads if set(row.extractors) & set(kinds)]
        upon = tuple(name for kind in kinds for name in embedded.get(kind, ()))
        specs = setting.heads(heads, job.seed)
        if specs and upon:
            fit.run(
                FitJob(work=job.work, extractors=upon, heads=specs, resources=job.resources),
                command,
            )


def _evaluate(
    job: ReproduceJob,
    row: Row,
    extractors: dict[str, list[ExtractorSpec]],
    store: Store,
    command: list[str],
) -> dict[str, Any]:
    """Figures of one row."""
    members = tuple(
        (head, spec.name)
        for head in row.heads
        for kind in row.extractors
        for spec in extractors[kind]
    )
    record = evaluate.run(EvaluateJob(work=job.work, name=row.key, members=members), command)
    return record.metrics


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
