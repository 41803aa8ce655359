"""``evaluate``: figures, report and picture of one ensemble, and its publication (section 3.5)."""

import json
from typing import Final

from pipelines.storage.store import open_store
from pipelines.training import evaluation_report, publish_model
from pipelines.training.jobs import EvaluateJob
from pipelines.training.scores import score
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.workfolder.patches import open_prepared
from tagger.errors import CommandError

METRICS: Final = "metrics.json"


def run(job: EvaluateJob, command: list[str]) -> StepRecord:
    """Carry out ``evaluate``.

    Raises
    ------
    CommandError : there are no test clips, and nothing is to be published either
    """
    store = open_store(job.work)
    prepared = open_prepared(store)
    with recorded(store, "evaluate", command, job, prepared.fingerprint) as record:
        model = job.publish and publish_model.assemble(prepared, job.members, job.publish)
        scored = score(prepared, job.members)
        if scored:
            figures = evaluation_report.figures(prepared.dataset, scored)
            record.metrics |= figures
            for file, data in (
                (METRICS, json.dumps(figures, indent=2, allow_nan=False).encode()),
                ("report.md", evaluation_report.markdown(job.name, figures).encode()),
                ("confusion.png", evaluation_report.picture(prepared.dataset, scored)),
            ):
                store.write(f"evaluations/{job.name}/{file}", data)
        elif not model:
            raise CommandError("none of the members' splits leaves clips to test on")
        if model:
            publish_model.write(model, record.metrics)
    return record
