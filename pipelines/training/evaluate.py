"""``evaluate``: figures, report and picture of one ensemble, and its publication (section 3.5)."""

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from pipelines.storage.store import Store, open_store
from pipelines.training import (
    calibration_report,
    evaluation_report,
    label_set_report,
    novelty,
    pictures,
    publish_model,
)
from pipelines.training.calibrating import WANTED, Calibrated, calibrate
from pipelines.training.jobs import EvaluateJob
from pipelines.training.predictions import mistakes, predictions
from pipelines.training.scores import Scored, score
from pipelines.training.specs import CLASSIFIER
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.workfolder import extractors, heads
from pipelines.training.workfolder.networks import read_record
from pipelines.training.workfolder.patches import Prepared, open_prepared
from pipelines.training.workfolder.shards import write_table
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.metrics import confusion

METRICS: Final = "metrics.json"
REPORT: Final = "report.md"
MISTAKES: Final = "mistakes.csv"  # which tag takes, so that report shows them
PREDICTIONS: Final = "predictions.parquet"

_log = logging.getLogger(__name__)


def run(job: EvaluateJob, command: list[str]) -> StepRecord:
    """Carry out ``evaluate``.

    Raises
    ------
    CommandError : there are no test clips, and nothing is to be published either
    OptionError : a precision is asked for, and there are no clips to tune for it on
    """
    store = open_store(job.work)
    prepared = open_prepared(store)
    with recorded(store, "evaluate", command, job, prepared.fingerprint) as record:
        chosen = publish_model.published(prepared, job.members, job.publish)
        model = job.publish and publish_model.assemble(prepared, chosen, job.publish)
        scored = score(prepared, job.members)
        if not scored and not model:
            raise CommandError("none of the members' splits leaves clips to test on")
        calibrated = calibrate(prepared, chosen, scored, job.precision)
        _tell(job, prepared.dataset.labels.names, calibrated)
        figures = _report(prepared, job, scored, calibrated) if scored else {}
        if model:
            temperature = calibrated.calibration.temperature if calibrated else 1.0
            strange = novelty.fit(prepared, chosen, job.members, temperature)
            publish_model.write(model, figures, calibrated, strange)
        record.metrics |= figures
        if scored:
            record.metrics["report"] = f"{store.root}/{_folder(job)}/{REPORT}"
    return record


def _tell(job: EvaluateJob, labels: Sequence[str], calibrated: Calibrated | None) -> None:
    """Say what a model that is published lacks."""
    if calibrated is None:
        if job.publish:
            _log.warning(
                "%s has neither temperature nor thresholds: that takes %s", job.name, WANTED
            )
    elif never := calibrated.calibration.never:
        names = ", ".join(labels[k] for k in never)
        _log.warning("labels that are never tags, for want of clips or precision: %s", names)


def _report(
    prepared: Prepared, job: EvaluateJob, scored: list[Scored], calibrated: Calibrated | None
) -> dict[str, Any]:
    """Write the files of an evaluation; its figures."""
    store, dataset = prepared.store, prepared.dataset
    report = evaluation_report if dataset.labelling == "one" else label_set_report
    figures: dict[str, Any] = report.figures(dataset, scored)
    if calibrated:
        figures["calibration"] = calibrated.about(dataset.labels.names)
    if report.is_at_chance(figures):
        _log.warning("%s is no better than chance: %s", job.name, report.beside_chance(figures))
    table = predictions(dataset, scored)
    worst = mistakes(table, dataset.labelling)
    text = report.markdown(job.name, figures, worst)
    text += calibration_report.markdown(figures["calibration"]) if calibrated else ""
    for file, data in (
        (METRICS, json.dumps(figures, indent=2, allow_nan=False).encode()),
        (REPORT, text.encode()),
        (MISTAKES, worst.to_csv(index=False).encode()),
        ("curves.png", pictures.curves(_trained(store, job.members))),
    ):
        store.write(f"{_folder(job)}/{file}", data)
    if dataset.labelling == "one":
        store.write(f"{_folder(job)}/confusion.png", _confusion(dataset, scored))
    if calibrated and (found := calibrated.measured):
        picture = pictures.reliability(found.before, found.after)
        store.write(f"{_folder(job)}/{calibration_report.RELIABILITY}", picture)
    write_table(store, f"{_folder(job)}/{PREDICTIONS}", table)
    return figures


def _confusion(dataset: Dataset, scored: list[Scored]) -> bytes:
    """The picture of which class was taken for which."""
    truth = dataset.truth()[np.concatenate([test.clips for test in scored])]
    ranking = np.concatenate([test.ranking for test in scored])
    counts = confusion(ranking, truth, len(dataset.labels))
    return pictures.confusion(counts, dataset.labels.names)


def _folder(job: EvaluateJob) -> str:
    return f"evaluations/{job.name}"


def _trained(store: Store, members: Iterable[tuple[str, str]]) -> dict[str, list[Any]]:
    """Records of the networks that the members are made of, extractors and heads apart.

    Those that were taken over as they were have no epochs, and are left out.
    """
    folders = {
        "extractors": dict.fromkeys(extractors.folder(name) for _, name in members),
        "heads": dict.fromkeys(
            heads.folder(head, name) for head, name in members if head != CLASSIFIER
        ),
    }
    found = {kind: [read_record(store, path) for path in some] for kind, some in folders.items()}
    trained = {
        kind: [record for record in records if record and record["history"]]
        for kind, records in found.items()
    }
    return {kind: records for kind, records in trained.items() if records}
