"""Whether a model can tag, seen before any recording is read."""

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
    model = read_tagging_model(job.model, job.store_patience_s)
    check_networks(model)
    return model


def check_networks(model: ModelFiles) -> None:
    """See that the networks of a model that was read can be built; CommandError if they cannot."""
    from tagger.checkpoint import build  # torch: seconds that a wrong command need not cost

    build(model)
