"""Which recordings an output must not hold: tombstones that name none of them.

Each ``forget`` command leaves a file with a keyed hash of every URI that it erased. Whoever has a
URI can ask whether it was forgotten; from the file alone no URI can be read. The key lies beside
it, so this hides names from a reader of the file, not from somebody who tries out likely names.

While a ``forget`` is under way its file also holds the URIs, so that any later command can
complete it. Taking them out is its last write.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Self

import numpy as np
import pyarrow as pa

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, digest, reading, seal, unseal
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store

_HASH_BYTES: Final = 16
_KEY_BYTES: Final = 32
_MEND: Final = "restore it from a copy: without it recordings that were forgotten would come back"


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
            store.write(path, seal(asdict(self), indent=1))
        else:
            store.remove([path])

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Decode; what is no tombstones raises ValueError, TypeError or KeyError."""
        plain = unseal(data)
        found = cls(**plain | {name: tuple(plain[name]) for name in ("hashes", "uris")})
        if {*map(type, (found.run_id, *found.hashes, *found.uris))} != {str}:
            raise ValueError("a value that no tombstones have")
        return found


def _read_stones(store: Store, path: str) -> Tombstones:
    data = store.read(path)
    with reading(store, path, "list of forgotten recordings", _MEND):
        return Tombstones.from_json(data)


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
                return cls(key, in_parallel(partial(_read_stones, store), paths), paths)

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
    store.create(layout.FORGOTTEN_KEY, _with_digits(secrets.token_hex(_KEY_BYTES)).encode())
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
    path = layout.FORGOTTEN_KEY
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        raise DamagedFile(store.root, path, "is missing", _MEND) from error
    with reading(store, path, "key of forgotten recordings", _MEND):
        text = data.decode()
        key = bytes.fromhex(text[: 2 * _KEY_BYTES])
        if len(key) != _KEY_BYTES or text not in (key.hex(), _with_digits(key.hex())):
            raise ValueError("other check digits")  # the first version wrote none
        return key


def _with_digits(key: str) -> str:
    """A key in hexadecimal, and after it digits that tell when it was changed."""
    return key + digest(key.encode())[:16]


def _hash(key: bytes, uri: str) -> str:
    return hashlib.blake2b(
        uri.encode(errors="surrogateescape"), key=key, digest_size=_HASH_BYTES
    ).hexdigest()
