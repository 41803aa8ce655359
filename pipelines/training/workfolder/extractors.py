"""The finished extractors of a work folder, ``extractors/<name>/``; and the DCASE baseline CNN."""

from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from pipelines.storage.store import Store
from pipelines.training.specs import ExtractorSpec
from pipelines.training.workfolder.networks import load_weights, read_record
from pipelines.training.workfolder.plain import from_plain
from tagger.baselines import CNN_FRAMES, CNN_HOP, BaselineCNN
from tagger.errors import CommandError
from tagger.examples import Examples, Takes
from tagger.logmel import N_BANDS, PATCH_FRAMES
from tagger.vggish import VGGish, VGGishClassifier

TEACHERS_WEIGHTS: Final = "teachers_weights"  # in a record, beside the names


def folder(name: str) -> str:
    """Where an extractor of this name lies."""
    return f"extractors/{name}"


def read_spec(store: Store, name: str) -> ExtractorSpec:
    """What a finished extractor was trained as.

    Raises
    ------
    CommandError : there is none of this name
    """
    return wanted(_record(store, name)["spec"])


def wanted(spec: Mapping[str, Any]) -> ExtractorSpec:
    """What was asked for, of the ``spec`` that the record of an extractor holds."""
    found = {"start_model", TEACHERS_WEIGHTS}
    return from_plain(ExtractorSpec, {k: v for k, v in spec.items() if k not in found})


def weights_id(store: Store, name: str) -> str:
    """The first digits of the sha256 of a finished extractor's weights."""
    digest: str = _record(store, name)["weights"]
    return digest[:8]


def load(store: Store, name: str, n_classes: int) -> tuple[ExtractorSpec, nn.Module]:
    """A finished extractor with its classifier, in evaluation mode, and what it was trained as."""
    spec = read_spec(store, name)
    return spec, load_weights(store, folder(name), build(spec, n_classes))


def build(spec: ExtractorSpec, n_classes: int) -> nn.Module:
    """The network of a spec, with whatever weights."""
    if spec.network == "baseline":
        return BaselineCNN(n_classes)
    return VGGishClassifier(VGGish(spec.vggish), n_classes)


def examples(spec: ExtractorSpec, takes: Takes) -> Examples:
    """What the network of a spec learns from: patches, or for the baseline shorter windows.

    Parameters
    ----------
    takes : of patches
    """
    if spec.network == "vggish":
        return takes.single()
    frames = takes.values.reshape(-1, N_BANDS)
    by_frame = Takes(frames, takes.starts * PATCH_FRAMES, takes.labels, takes.n_classes)
    return by_frame.windows(CNN_FRAMES, CNN_HOP)


def _record(store: Store, name: str) -> dict[str, Any]:
    record = read_record(store, folder(name))
    if record is None:
        raise CommandError(f"{store.root}: no extractor {name!r}; run finetune first")
    return record
