"""The model that training starts from: a published one, or converted VGGish weights."""

from dataclasses import dataclass
from functools import lru_cache

from pipelines.storage.models import read_model
from pipelines.training.specs import BUNDLED_START
from tagger import checkpoint
from tagger.card import BUNDLED
from tagger.errors import OptionError
from tagger.vggish import VGGish


@dataclass(frozen=True)
class StartModel:
    """One extractor of a model, and the model's identity."""

    model_id: str
    extractor: VGGish


@lru_cache(maxsize=1)
def read_start_model(url: str, extractor: str | None) -> StartModel:
    """Read and verify the model at a folder or URI, once in this process.

    Parameters
    ----------
    url : or ``bundled``, the model in the package
    extractor : its name on the card; None: the first

    Raises
    ------
    CommandError : no model there, one that this version cannot run, or no such extractor
    AccessDenied, StoreUnavailable : from the store that holds it
    """
    files = read_model(str(BUNDLED) if url == BUNDLED_START else url)
    found = checkpoint.build(files).extractors
    name = next(iter(found)) if extractor is None else extractor
    if name not in found:
        raise OptionError("start_extractor", f"must be one of {', '.join(found)}, not {name}")
    return StartModel(files.card.model_id, found[name])
