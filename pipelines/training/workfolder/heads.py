"""The finished heads of a work folder, ``heads/<head>/<extractor>/``."""

from torch import nn

from pipelines.storage.store import Store
from pipelines.training.specs import HeadSpec
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.networks import load_weights, read_record
from pipelines.training.workfolder.plain import from_plain
from tagger.attention import MultiLevelAttention
from tagger.baselines import LSTMHead
from tagger.configs import LSTMConfig
from tagger.errors import CommandError
from tagger.examples import Examples, Takes
from tagger.labels import Labelling


def folder(name: str, extractor: str) -> str:
    """Where the head of this name upon an extractor lies."""
    return f"heads/{name}/{extractor}"


def load(
    store: Store, name: str, extractor: str, n_classes: int, labelling: Labelling
) -> tuple[HeadSpec, nn.Module]:
    """A finished head, in evaluation mode, and what it was trained as.

    Raises
    ------
    CommandError : there is none of this name, or it was fitted before the extractor was trained
        anew
    """
    record = read_record(store, folder(name, extractor))
    if record is None:
        raise CommandError(
            f"{store.root}: no head {name!r} upon extractor {extractor!r}; run fit first"
        )
    if record["spec"]["weights"] != extractors.weights_id(store, extractor):
        raise CommandError(
            f"{store.root}: head {name!r} was fitted upon another extractor {extractor!r}; fit one "
            "of another name"
        )
    spec = from_plain(HeadSpec, record["spec"]["wanted"])
    return spec, load_weights(store, folder(name, extractor), build(spec, n_classes, labelling))


def build(spec: HeadSpec, n_classes: int, labelling: Labelling) -> nn.Module:
    """The network of a spec, with torch's initial weights."""
    if isinstance(spec.network, LSTMConfig):
        return LSTMHead(n_classes, spec.network)
    return MultiLevelAttention(n_classes, spec.network, labelling)


def examples(spec: HeadSpec, takes: Takes) -> Examples:
    """What the network of a spec learns from: bags, or for an LSTM whole takes.

    Parameters
    ----------
    takes : of embeddings
    """
    if isinstance(spec.network, LSTMConfig):
        return takes.whole()
    return takes.bags(spec.network.n_segments)
