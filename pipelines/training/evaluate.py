"""``evaluate``: figures, report and picture of one ensemble, and its publication (section 3.5)."""

import json
from typing import Any, Final

from pipelines.storage.store import Store, open_store
from pipelines.training import evaluation_report as scoreboard
from pipelines.training import publish_model
from pipelines.training.jobs import EvaluateJob
from pipelines.training.scores import score
from pipelines.training.step_records import TrainRecord, recorded
from pipelines.training.workfolder.patches import open_prepared
from tagger.errors import CommandError

METRICS: Final = "metrics.json"


def run(job: EvaluateJob, command: list[str]) -> TrainRecord:
    """Carry out ``evaluate``.

    Raises
    ------
    CommandError : there are no test clips, and nothing is to be published either
    """
    store = open_store(job.work)
    prepared = open_prepared(store)
    with recorded(store, "evaluate", command, job, prepared.info["fingerprint"]) as record:
        model = job.publish and publish_model.assemble(prepared, job.members, job.publish)
        scored = score(prepared, job.members)
        if scored:
            record.metrics |= scoreboard.figures(prepared.dataset, scored)
            _report(store, job.name, record.metrics, scoreboard.picture(prepared.dataset, scored))
        elif not model:
            raise CommandError("none of the members' splits leaves clips to test on")
        if model:
            publish_model.write(model, record.metrics)
    return record


def _report(store: Store, name: str, figures: dict[str, Any], confusion: bytes) -> None:
    for file, data in (
        (METRICS, json.dumps(figures, indent=2, allow_nan=False).encode()),
        ("report.md", scoreboard.markdown(name, figures).encode()),
        ("confusion.png", confusion),
    ):
        store.write(f"evaluations/{name}/{file}", data)
