"""``reproduce``: the paper's tables on a data set, with the paper's figures beside ours.

Every step leaves out what the work folder holds already, so the same command goes on where it was
stopped, and rows share prepared patches, extractors, embeddings and heads.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

SEED_MARK: Final = "-s"

Extractors = Mapping[str, list[ExtractorSpec]]
"""The extractors of each recipe, one for every set of test clips."""


@dataclass(frozen=True)
class _Series:
    """What is trained with one seed.

    Attributes
    ----------
    suffix : of the names of extractors and evaluations
    """

    seed: int
    suffix: str
    extractors: Extractors


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
        every = [
            _Series(seed, suffix, setting.extractors(names, prepared.dataset, start, seed, suffix))
            for seed, suffix in _seeds(job)
        ]
        _train_extractors(job, every, command)
        for series in every:
            _fit_heads(job, setting, rows, series, command)
        record.metrics["rows"] = {
            f"{row.key}{series.suffix}": _evaluate(job, row, series, command)
            for row in rows
            for series in every
        }
        _write_report(store, shlex.join(("python", "-m", "pipelines", *command)), _one_row(job))
    return record


def _seeds(job: ReproduceJob) -> list[tuple[int, str]]:
    """Each seed, and what ends the names of its networks: nothing for the first."""
    seeds = range(job.seed, job.seed + job.n_seeds)
    return [(seed, f"{SEED_MARK}{seed}" if seed > job.seed else "") for seed in seeds]


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


def _train_extractors(job: ReproduceJob, every: list[_Series], command: list[str]) -> None:
    """Train the extractors that the rows need, and embed by those that heads stand upon."""
    specs = {
        name: [spec for series in every for spec in series.extractors[name]]
        for name in every[0].extractors
    }
    tasks = tuple(chain.from_iterable(specs.values()))
    finetune.run(FinetuneJob(work=job.work, extractors=tasks, resources=job.resources), command)
    upon = [spec.name for name in specs if not EXTRACTORS[name].baseline for spec in specs[name]]
    if upon:
        embed.run(EmbedJob(work=job.work, extractors=tuple(upon)), command)


def _fit_heads(
    job: ReproduceJob, setting: Setting, rows: list[Row], series: _Series, command: list[str]
) -> None:
    """Train the heads that the rows need; the original VGGish gets those of its own row alone."""
    for trained in (True, False):
        names = [
            name
            for name in series.extractors
            if EXTRACTORS[name].trained is trained and not EXTRACTORS[name].baseline
        ]
        upon = tuple(spec.name for name in names for spec in series.extractors[name])
        heads = [head for row in rows for head in row.heads if set(row.extractors) & set(names)]
        if specs := setting.heads(heads, series.seed):
            fit.run(
                FitJob(work=job.work, extractors=upon, heads=specs, resources=job.resources),
                command,
            )


def _evaluate(job: ReproduceJob, row: Row, series: _Series, command: list[str]) -> dict[str, Any]:
    """Figures of one row with one seed."""
    members = tuple(
        (head, spec.name)
        for head in row.heads
        for name in row.extractors
        for spec in series.extractors[name]
    )
    name = f"{row.key}{series.suffix}"
    return evaluate.run(EvaluateJob(work=job.work, name=name, members=members), command).metrics


def _write_report(store: Store, made_by: str, one_row: str) -> None:
    """The report of all rows that the work folder holds, those of earlier commands too."""
    figures = {row.key: found for row in ROWS if (found := _figures(store, row.key))}
    rows = [row for row in ROWS if row.key in figures]
    trained = report.networks(store)
    text = report.markdown(rows, figures, trained, _costs(store), made_by, one_row)
    store.write("report/report.md", text.encode())
    store.write("report/report.json", json.dumps(figures, indent=2, allow_nan=False).encode())
    store.write("report/curves.png", pictures.curves(trained))


def _figures(store: Store, key: str) -> dict[str, Any]:
    """What a row came to, by seed: ``first``, then ``s1`` and so on."""
    pattern = re.compile(rf"evaluations/{re.escape(key)}(?:-s(\d+))?/{re.escape(METRICS)}")
    found = filter(None, map(pattern.fullmatch, store.list("evaluations")))
    return {
        f"s{match[1]}" if match[1] else report.FIRST: json.loads(store.read(match[0]))
        for match in sorted(found, key=lambda match: int(match[1] or -1))
    }


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
    words += ["--setting", job.setting, "--start", job.start, "--seed", str(job.seed)]
    words += ["--seeds", str(job.n_seeds)] if job.n_seeds > 1 else []
    return shlex.join([*words, "--rows"])
