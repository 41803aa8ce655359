"""What all networks of one process read of a work folder: each shard once."""

from functools import cached_property

from pipelines.training.workfolder.embeddings import load_embeddings
from pipelines.training.workfolder.patches import Prepared, load_patches
from pipelines.training.workfolder.takes import LoadedTakes
from tagger.arrays import IndexArray


class SharedReads:
    """Patches and embeddings of a work folder, kept for all networks of this process.

    Patches stay for good. They take 12 KiB for 0.96 s of sound, 46 MB an hour: 0.8 GB for the 18
    hours of FSDKaggle2018's training clips, in every worker. Embeddings take 0.5 KiB for 0.96 s;
    those of one extractor stay until another's are asked for, so heads upon one extractor are best
    trained one after the other.

    Parameters
    ----------
    clips : rows of ``Dataset.clips`` that any of the networks needs
    copies : how many copies of a clip any of them needs at most
    """

    def __init__(self, prepared: Prepared, clips: IndexArray, copies: int) -> None:
        self.prepared = prepared
        self._clips, self._copies = clips, copies
        self._embedded: tuple[str, LoadedTakes] | None = None

    @cached_property
    def patches(self) -> LoadedTakes:
        """Patches (n, 96, 64) float16 of the clips and their copies."""
        return load_patches(self.prepared, self._clips, self._copies)

    def embeddings(self, extractor: str) -> LoadedTakes:
        """Embeddings (n, 128) float32 of the clips and their copies by an extractor."""
        if self._embedded is None or self._embedded[0] != extractor:
            self._embedded = None  # its memory is free before the next is read
            loaded = load_embeddings(self.prepared, extractor, self._clips, self._copies)
            self._embedded = extractor, loaded
        return self._embedded[1]
