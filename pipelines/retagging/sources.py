"""Which model tags, and which one's embeddings it takes."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pipelines.output.inventory import table_files_by_model
from pipelines.output.run_history import RunHistory
from pipelines.output.settings import Settings
from pipelines.retagging.job import RetagJob
from pipelines.storage.models import read_tagging_model
from pipelines.storage.store import Store
from tagger.card import ModelFiles
from tagger.checkpoint import build
from tagger.errors import CommandError
from tagger.logmel import FRONT_END


@dataclass(frozen=True)
class Source:
    """The model that tags, and where its embeddings are.

    Attributes
    ----------
    model_id : of the model whose tables hold the embeddings
    extractors : for each extractor of ``model``, in its order, the name that these tables have
    """

    model: ModelFiles
    model_id: str
    extractors: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """Whether the model's own rows are made anew."""
        return self.model.card.model_id == self.model_id


def find_source(job: RetagJob, store: Store, settings: Settings) -> Source:
    """Read the models of a job.

    Raises
    ------
    CommandError : the output holds no embeddings, or those of other extractors; or there is no
        such model
    AccessDenied, StoreUnavailable : from the store that holds a model
    """
    if "embeddings" not in settings.tables:
        raise CommandError(f"{store.root} was begun without embeddings: tag the recordings again")
    if json.loads(settings.front_end) != FRONT_END:
        raise CommandError(f"{store.root} has embeddings of another front end: tag again")
    patience_s = job.store_patience_s
    model = None if job.model is None else read_tagging_model(job.model, patience_s)
    if job.from_ is not None:
        old = read_tagging_model(job.from_, patience_s)
        if old.card.model_id not in table_files_by_model(store):
            raise CommandError(f"{store.root} has no tables of {old.card.model_id} ({job.from_})")
    else:
        old = _last_model(store, model, patience_s)
    model = model or old
    return Source(model, old.card.model_id, _extractors(model, old))


def _last_model(store: Store, new: ModelFiles | None, patience_s: float) -> ModelFiles:
    """The model that tagged last, from where it lay then; ``new`` itself where there is no other.

    Parameters
    ----------
    new : the model that is going to tag; None: the one that is found
    """
    folders: dict[str, Any] = {}
    for run in RunHistory(store):
        folders.setdefault(run["model_id"], run.get("config", {}).get("model"))
    there = table_files_by_model(store)
    if not there:
        raise CommandError(f"{store.root} has no tables yet: tag first")
    known = [model_id for model_id in folders if model_id in there] or sorted(there)
    if new is not None:
        known = [model_id for model_id in known if model_id != new.card.model_id]
        if not known:
            return new
    model_id, folder = known[0], folders.get(known[0])
    try:
        found = read_tagging_model(str(folder), patience_s)
    except CommandError:
        found = None
    if found is None or found.card.model_id != model_id:
        raise CommandError(
            f"{store.root}: the model {model_id} does not lie any more where it lay when it "
            f"tagged, in {folder}: name its folder"
        )
    return found


def _extractors(new: ModelFiles, old: ModelFiles) -> tuple[str, ...]:
    """The names by which an old model calls a new one's extractors."""
    names = {hashed: name for name, hashed in _hashes(old).items()}
    wanted = _hashes(new)
    others = [name for name, hashed in wanted.items() if hashed not in names]
    if others:
        new_id, old_id = new.card.model_id, old.card.model_id
        raise CommandError(
            f"{new_id} cannot tag by the embeddings of {old_id}, which has other extractors than "
            f"{', '.join(others)}: tag the recordings with {new_id}"
        )
    return tuple(names[hashed] for hashed in wanted.values())


def _hashes(model: ModelFiles) -> dict[str, str]:
    """A hash of each extractor's size and weights, in whatever type they are stored."""
    found = {}
    for name, network in build(model).extractors.items():
        digest = hashlib.sha256(repr(network.config).encode())
        for key, tensor in network.state_dict().items():
            digest.update(key.encode() + tensor.numpy().tobytes())
        found[name] = digest.hexdigest()
    return found
