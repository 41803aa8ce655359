"""The model of a job, checked before any work."""

from pipelines.storage.models import read_tagging_model
from pipelines.tagging.job import TagJob
from tagger.card import ModelFiles


def checked_model(job: TagJob) -> ModelFiles:
    """Read the model and see that its networks can be built.

    Raises
    ------
    CommandError : no model there, or one that cannot tag
    AccessDenied, StoreUnavailable : from the store that holds it
    """
    from tagger.checkpoint import build  # torch: seconds that a wrong command need not cost

    model = read_tagging_model(job.model, job.store_patience_s)
    build(model)
    return model
