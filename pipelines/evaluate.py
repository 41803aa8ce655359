"""``evaluate``: figures, report and picture of one ensemble, and its publication (section 3.5)."""

import json

from pipelines import publish_model, scoreboard
from pipelines.prepared import open_prepared
from pipelines.records import TrainRecord, recorded
from pipelines.scoring import score
from pipelines.store import open_store
from pipelines.train_config import EvaluateJob


def run(job: EvaluateJob, command: list[str]) -> TrainRecord:
    """Carry out ``evaluate``."""
    store = open_store(job.work)
    prepared = open_prepared(store)
    with recorded(store, "evaluate", command, job, prepared.info["fingerprint"]) as record:
        scored = score(prepared, job.members)
        figures = scoreboard.figures(prepared.dataset, scored)
        record.metrics |= figures
        folder = f"evaluations/{job.name}"
        write = {
            "metrics.json": json.dumps(figures, indent=2).encode(),
            "report.md": scoreboard.markdown(job.name, figures).encode(),
            "confusion.png": scoreboard.picture(prepared.dataset, scored),
        }
        for name, data in write.items():
            store.write(f"{folder}/{name}", data)
        if job.publish:
            publish_model.publish(prepared, job.members, job.publish, figures)
    return record
