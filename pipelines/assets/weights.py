"""``weights``: the published VGGish weights as a model folder that ``finetune`` starts from.

Downloaded or local, checked by hash, converted, and compared with the embedding that is published
of them (``tagger.convert.verify``); there is no way around that comparison, since a file that fails
it is another network or a wrong conversion, and fine-tuning would go on from noise without a word.
"""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from pipelines.assets.download import PATIENCE_S, check_url, download, writing
from pipelines.runtime.packages import package_versions
from pipelines.storage.checksums import Checksum, file_digest
from tagger.card import CARD_FILE
from tagger.configs import EmbeddingActivation, require_positive
from tagger.errors import CommandError, OptionError

if TYPE_CHECKING:
    from tagger.audioset_pca import PCA
    from tagger.card import Card
    from tagger.convert import Verification
    from tagger.vggish import VGGish
    from tagger.vggish_reference import Reference

EXTRACTOR: Final = "vggish"
MOST_BYTES: Final = 2 * 10**9
LICENCE: Final = "Apache-2.0, the TensorFlow authors (tensorflow/models, research/audioset/vggish)"

_DOWNLOADS: Final = "_download"
_HUB_NAME: Final = re.compile(r"-([0-9a-f]{8,64})\.\w+")  # torch.hub: digits of the sha256


@dataclass(frozen=True)
class KnownFile:
    """A published file; ``checksum`` is None where none is recorded anywhere."""

    url: str
    checksum: str | None = None


_RELEASES: Final = "releases/download/v0.1"
KNOWN: Final = {
    "torchvggish": KnownFile(
        f"https://github.com/harritaylor/torchvggish/{_RELEASES}/vggish-10086976.pth",
        "sha256:10086976",
    ),
    "torch_audioset": KnownFile(f"https://github.com/w-hc/vggish/{_RELEASES}/vggish_orig.pth"),
    "torchaudio": KnownFile("https://download.pytorch.org/torchaudio/models/vggish.pt"),
}
"""Published VGGish weights by name."""

KNOWN_PCA: Final = {
    "audioset": KnownFile(
        "https://storage.googleapis.com/audioset/vggish_pca_params.npz",
        "sha256:4d878af3e306defbfb37095365aa7e5a6cecb86bad13e859e626151c4e6a8b9d",
    )
}


@dataclass(frozen=True, kw_only=True)
class WeightsJob:
    """One run of ``weights``."""

    source: str = field(default="torchvggish", metadata={"positional": True})
    """The published weights: torchvggish, torch_audioset or torchaudio, which are downloaded, an
    https:// URL, or a local file."""

    out: str
    """Local folder of the model to write."""

    checksum: str | None = None
    """Checksum that the file must have, as sha256:… or md5:…. Left out: the one that is known of
    this file, or the digits in a URL like those of torch.hub, if there are any. The card tells the
    sha256 that was found."""

    pca: str | None = field(default=None, metadata={"bare": "audioset"})
    """PCA parameters to keep with the weights: audioset, which is downloaded and meant where no
    value is given, an https:// URL, or a local npz file. Left out: those in the weights' file."""

    embedding_activation: EmbeddingActivation = "relu"
    """Activation of the embedding: relu as in the paper, or none as in the current public release.
    The weights are the same."""

    store_patience_s: float = PATIENCE_S
    """Longest time without progress of a download, before it is given up with exit code 6."""

    def __post_init__(self) -> None:
        if "://" in self.out:
            raise OptionError("out", "must be a local folder")
        for name, source in (("source", self.source), ("pca", self.pca)):
            if source and "://" in source:
                check_url(source, name)
        require_positive("store_patience_s", self.store_patience_s)


@dataclass(frozen=True)
class WeightsRecord:
    """What a run wrote.

    Attributes
    ----------
    checked : the checksum that the file was found to have; None: there was none to compare with
    verification : what was measured against the published embedding
    pca : whether PCA parameters are stored with the model
    """

    folder: str
    model_id: str
    source: str
    sha256: str
    checked: str | None
    verification: "Verification"
    pca: bool

    @property
    def text(self) -> str:
        """For people."""
        measured = self.verification
        checked = f"as expected ({self.checked})" if self.checked else "compared with nothing"
        return "\n".join(
            [
                f"{self.source}: sha256 {self.sha256}, {checked}",
                "the published embedding of a test tone: reproduced to "
                f"{measured.embedding_difference:.2%}; mean {measured.mean:.6f}, standard "
                f"deviation {measured.std:.4f} before the activation",
                f"{self.folder}: model {self.model_id}, an extractor to start from: "
                f"finetune --start {shlex.quote(self.folder)}",
                f"PCA parameters: {'stored with it' if self.pca else 'none'}",
            ]
        )


def run(
    job: WeightsJob, command: Sequence[str] = (), published: "Reference | None" = None
) -> WeightsRecord:
    """Carry out ``weights``.

    Parameters
    ----------
    published : what the weights must reproduce; None: ``tagger.vggish_reference.PUBLISHED``

    Raises
    ------
    CommandError : a wrong or unreadable file, weights that are not VGGish's; nothing is written
    StoreUnavailable, AccessDenied : the server or the disk gave out
    """
    from tagger import audioset_pca, convert
    from tagger.vggish_reference import PUBLISHED

    published = published or PUBLISHED
    folder = Path(job.out).expanduser().absolute()
    if (folder / CARD_FILE).exists():
        raise CommandError(f"{folder} holds a model already: give another --out, or remove it")
    file = _obtain(job.source, KNOWN, job.checksum, folder, job.store_patience_s)
    state = convert.read_state(file.path)
    extractor = convert.convert(state, job.embedding_activation)
    verification = convert.verify(extractor, published)
    pca = audioset_pca.of_state(state)
    if job.pca is not None:
        pca = audioset_pca.of_npz(
            _obtain(job.pca, KNOWN_PCA, None, folder, job.store_patience_s).path
        )
    if pca is not None:
        audioset_pca.verify(pca, published)
    about = file.about() | {"verification": asdict(verification), "command": shlex.join(command)}
    with writing(folder):
        card = _write(folder, extractor, pca, about)
    shutil.rmtree(folder / _DOWNLOADS, ignore_errors=True)
    source = (about["source"], about["sha256"], about["checked"])
    return WeightsRecord(str(folder), card.model_id, *source, verification, pca is not None)


@dataclass(frozen=True)
class _File:
    """A local file with the checksum that it was found to have, and where it comes from."""

    path: Path
    origin: str
    checksum: Checksum | None

    def about(self) -> dict[str, Any]:
        """What the card tells of it."""
        return {
            "source": self.origin,
            "sha256": file_digest(self.path, "sha256"),
            "checked": str(self.checksum) if self.checksum else None,
            "licence": LICENCE,
        }


def _obtain(
    source: str, known: Mapping[str, KnownFile], given: str | None, folder: Path, patience_s: float
) -> _File:
    """The file behind a source, downloaded if need be, its checksum verified if there is one."""
    url = known[source].url if source in known else source
    remote = "://" in url
    name = Path(urlsplit(url).path).name if remote else Path(source).name
    text = given or _known_checksum(name, known) or (_hub_checksum(name) if remote else None)
    checksum = Checksum.parse(text) if text else None
    if remote:
        path = folder / _DOWNLOADS / (name or "file")
        download(url, path, checksum, MOST_BYTES, patience_s)
        return _File(path, url, checksum)
    path = Path(source).expanduser()
    if not path.is_file():
        raise CommandError(
            f"{source}: no such file; give a local file, an https:// URL, or {', '.join(known)}"
        )
    if checksum:
        checksum.require(path, source)
    return _File(path, name, checksum)


def _known_checksum(name: str, known: Mapping[str, KnownFile]) -> str | None:
    return next((file.checksum for file in known.values() if file.url.endswith(f"/{name}")), None)


def _hub_checksum(name: str) -> str | None:
    match = _HUB_NAME.search(name)
    return f"sha256:{match[1]}" if match else None


def _write(folder: Path, extractor: "VGGish", pca: "PCA | None", about: dict[str, Any]) -> "Card":
    """Write the model; its card comes last."""
    from tagger import audioset_pca, checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    about = about | {"versions": package_versions()}
    if pca is not None:
        about["pca"] = audioset_pca.write(folder, pca)
    return checkpoint.save(folder, EXTRACTOR, [], {EXTRACTOR: extractor}, [], about)
