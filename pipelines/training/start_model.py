"""The model that training starts from: a published one, or converted VGGish weights."""

from dataclasses import dataclass
from functools import lru_cache

from pipelines.storage.models import read_model
from tagger import checkpoint
from tagger.vggish import VGGish


@dataclass(frozen=True)
class StartModel:
    """The first extractor of a model, and the model's identity."""

    model_id: str
    extractor: VGGish


@lru_cache(maxsize=1)
def read_start_model(url: str) -> StartModel:
    """Read and verify the model at a folder or URI, once in this process.

    Raises
    ------
    CommandError : no model there, or one that this version cannot run
    AccessDenied, StoreUnavailable : from the store that holds it
    """
    files = read_model(url)
    extractor = next(iter(checkpoint.build(files).extractors.values()))
    return StartModel(files.card.model_id, extractor)
