"""``tag --print``: tags of a few clips at once, in this process; no Ray, no tables."""

from collections.abc import Iterator
from typing import Any, Final

from pipelines.storage.models import read_tagging_model
from pipelines.tagging.job import TagJob
from pipelines.tagging.selection import input_access, listed
from pipelines.tagging.staged_rows import RowSettings, require_thresholds

SHOWN: Final = ["uri", "duration_s", "tags", "novelty", "none_of_these", "reason", "detail"]


def tagged_rows(job: TagJob) -> Iterator[dict[str, Any]]:
    """Tag the clips of a job one after the other, through the stages that the job has on Ray.

    Yields
    ------
    uri, duration_s, tags and novelty of a clip, or reason and detail of its failure

    Raises
    ------
    CommandError : when the command cannot be carried out as given
    AccessDenied, StoreUnavailable : a store gave out
    """
    model = read_tagging_model(job.model, job.store_patience_s)
    require_thresholds(job, model.card)
    found = listed(job)
    clips = found.extras.restored(found.clips.slice(0, job.limit))
    from pipelines.tagging.stages import ClipTagger, Preprocessor
    from tagger.tagging import Tagger  # torch: seconds that a wrong command need not cost

    tagger = Tagger(model)
    preprocess = Preprocessor(job.limits, input_access(job), track=job.track)
    tag = ClipTagger(tagger, RowSettings.of(job, tagger.card.model_id, ""))
    try:
        for i in range(len(clips)):
            clip = clips.slice(i, 1)
            table, _ = tag(clip, preprocess(clip))
            yield from table.select(SHOWN).to_pylist()
    finally:
        preprocess.close()
