"""Files of an output that are not what was written: how that is seen, told, and cleared away.

Each file that holds data has a hash somewhere: a table file in the marker of its entry, a staged or
rewritten file in its own name, a file of JSON in its last field. Outputs of the first version have
none; of theirs only what cannot be read is seen.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pipelines.output import layout
from pipelines.storage.store import Store
from tagger.errors import CommandError

_NAMED: Final = re.compile(r"[0-9a-f]{32}-([0-9a-f]{64})\.parquet")
_SEAL: Final = re.compile(rb'\s*,\s*"sha256": ?"([0-9a-f]{64})"\}\Z')

_MALFORMED: Final = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError)
"""What reading JSON, and making something of it, raises where it is not what it should be."""


class DamagedFile(CommandError):  # noqa: N818
    """A file of an output was changed, cut off, or never was what its name says.

    Parameters
    ----------
    root : of the output
    path : of the file
    problem : the end of a sentence about the file: "was changed since it was published"
    mend : what to do
    """

    def __init__(self, root: str, path: str, problem: str, mend: str) -> None:
        super().__init__(root, path, problem, mend)  # all arguments, so that it pickles
        self.path = path
        self.problem = problem
        self._root = root
        self.mend = mend

    def __str__(self) -> str:
        return f"{self._root}/{self.path} {self.problem}: {self.mend}"

    @property
    def line(self) -> str:
        """Path and problem."""
        return f"{self.path} {self.problem}"


def digest(data: bytes) -> str:
    """The sha256 of a file's bytes, as ``sha256sum`` prints it."""
    return hashlib.sha256(data).hexdigest()


def name_of(data: bytes) -> str:
    """A name for a Parquet file: unique, and with the hash of its bytes in it."""
    return f"{uuid.uuid4().hex}-{digest(data)}.parquet"


def holds_hash(name: str) -> bool:
    """Whether the name of a file holds the hash of its bytes, as ``name_of`` gives it."""
    return _NAMED.fullmatch(name) is not None


def is_as_named(name: str, data: bytes) -> bool:
    """Whether these are the bytes that a file got its name for; a name may hold no hash."""
    match = _NAMED.fullmatch(name)
    return match is None or match[1] == digest(data)


def seal(plain: dict[str, Any], indent: int | None = None) -> bytes:
    """Encode as JSON whose last field, ``sha256``, is the hash of all bytes before it."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(plain, indent=indent, separators=separators)
    rest = text[:-1].rstrip().encode()
    comma = b"," if indent is None else b",\n" + b" " * indent
    return rest + comma + f'"sha256": "{digest(rest)}"}}'.encode()


def unseal(data: bytes) -> dict[str, Any]:
    """Decode what ``seal`` encoded, or JSON of the first version, which has no such field.

    Raises
    ------
    ValueError : it was changed, or is no JSON object
    """
    try:
        plain: Any = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(plain, dict):
        raise ValueError("no object")
    if "sha256" in plain:
        match = _SEAL.search(data)
        if match is None or match[1].decode() != digest(data[: match.start()]):
            raise ValueError("its hash is another")
        del plain["sha256"]
    return plain


@contextmanager
def reading(store: Store, path: str, what: str, mend: str) -> Iterator[None]:
    """Have what goes wrong with the content of a file told as damage of it.

    Parameters
    ----------
    what : what the file should be: "entry of a log"
    """
    try:
        yield
    except CommandError:
        raise
    except _MALFORMED as error:
        raise DamagedFile(store.root, path, f"is no {what}, or was changed", mend) from error


def set_aside(store: Store, path: str) -> None:
    """Move a file out of the way, to below ``_damaged``; nothing happens when it is gone."""
    try:
        data = store.read(path)
    except FileNotFoundError:
        return
    store.write(layout.damaged(path), data)
    store.remove([path])


def rebuild(store: Store) -> str:
    """How to mend a file of which the tables know what was in it."""
    return (
        "restore it from a copy, or have it made anew from the tables with "
        f"`rebuild-log {store.root}`"
    )


def redo(number: int) -> str:
    """How to mend an entry of which rows are lost."""
    return (
        "restore the file from a copy, or start tag with `--redo-entry "
        f"{number}`, which does the clips of that entry again"
    )
