"""Which recordings an output must not hold: tombstones that name none of them.

Each ``forget`` command leaves a file with a keyed hash of every URI that it erased. Whoever has a
URI can ask whether it was forgotten; from the file alone no URI can be read. The key lies beside
it, so this hides names from a reader of the file, not from somebody who tries out likely names.

While a ``forget`` is under way its file also holds the URIs, so that any later command can
complete it. Taking them out is its last write.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from pipelines.output import layout
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store
from tagger.errors import CommandError

_HASH_BYTES: Final = 16


@dataclass(frozen=True)
class Tombstones:
    """What one ``forget`` command left.

    Attributes
    ----------
    hashes : of the URIs, keyed
    uris : the URIs, until they are erased everywhere
    """

    run_id: str
    hashes: tuple[str, ...]
    uris: tuple[str, ...] = ()

    def write(self, store: Store) -> None:
        """Replace what the output holds of it; with no hash left it is removed."""
        path = layout.forgotten(self.run_id)
        if self.hashes:
            store.write(path, json.dumps(asdict(self), indent=1).encode())
        else:
            store.remove([path])

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        plain: dict[str, Any] = json.loads(data)
        return cls(plain["run_id"], tuple(plain["hashes"]), tuple(plain["uris"]))


class Forgotten:
    """All tombstones of an output."""

    def __init__(
        self, key: bytes, tombstones: Iterable[Tombstones], paths: Sequence[str] = ()
    ) -> None:
        self._key = key
        self._paths = paths
        self.tombstones = tuple(tombstones)
        self._hashes = {h for stone in self.tombstones for h in stone.hashes}

    @classmethod
    def read(cls, store: Store, known: Self | None = None) -> Self:
        """Read them, once more where ``merge`` replaces files meanwhile.

        Parameters
        ----------
        known : what was read before; returned when no file has been added
        """
        while True:
            paths = [path for path in store.list(layout.FORGOTTEN) if path != layout.FORGOTTEN_KEY]
            if known is not None and {*paths} <= {*known._paths}:
                return known
            key = _key(store) if paths else b""
            with suppress(FileNotFoundError):
                read = in_parallel(store.read, paths)
                return cls(key, map(Tombstones.from_json, read), paths)

    @property
    def pending(self) -> tuple[str, ...]:
        """The URIs that have yet to be erased."""
        return tuple(uri for stone in self.tombstones for uri in stone.uris)

    def __contains__(self, uri: str) -> bool:
        return bool(self._hashes) and _hash(self._key, uri) in self._hashes

    def mask(self, uris: pa.ChunkedArray) -> pa.Array:
        """Tell of each URI whether it was forgotten: (n,) bool."""
        if not self._hashes:
            return pa.array(np.zeros(len(uris), bool))
        return pa.array([uri in self for chunk in uris.chunks for uri in chunk.to_pylist()])


def bury(store: Store, run_id: str, uris: Iterable[str]) -> None:
    """Write that these URIs are to be erased, and are not to come back."""
    store.create(layout.FORGOTTEN_KEY, secrets.token_hex(32).encode())
    key = _key(store)
    names = tuple(sorted(set(uris)))
    Tombstones(run_id, tuple(_hash(key, uri) for uri in names), names).write(store)


def lift(store: Store, uris: Iterable[str]) -> int:
    """Take the tombstones of these URIs away; return how many there were."""
    forgotten = Forgotten.read(store)
    lifted = {_hash(forgotten._key, uri) for uri in uris if uri in forgotten}
    for stone in forgotten.tombstones:
        kept = tuple(h for h in stone.hashes if h not in lifted)
        if kept != stone.hashes:
            Tombstones(stone.run_id, kept).write(store)
    return len(lifted)


def merge(store: Store, run_id: str) -> None:
    """Make one file of the tombstones of all commands that are complete."""
    done = [stone for stone in Forgotten.read(store).tombstones if not stone.uris]
    if len(done) > 1:
        hashes = sorted({h for stone in done for h in stone.hashes})
        Tombstones(run_id, tuple(hashes)).write(store)
        store.remove(layout.forgotten(stone.run_id) for stone in done)


def _key(store: Store) -> bytes:
    try:
        return bytes.fromhex(store.read(layout.FORGOTTEN_KEY).decode())
    except FileNotFoundError as error:
        raise CommandError(
            f"{store.root}: {layout.FORGOTTEN_KEY} is gone, without which nobody can tell which "
            "recordings were forgotten: restore it"
        ) from error


def _hash(key: bytes, uri: str) -> str:
    return hashlib.blake2b(
        uri.encode(errors="surrogateescape"), key=key, digest_size=_HASH_BYTES
    ).hexdigest()
