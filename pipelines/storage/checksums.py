"""What a file from elsewhere must hash to."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagger.errors import CommandError

_DIGEST_LENGTHS: Final = {"sha256": 64, "md5": 32}
_WRITTEN: Final = re.compile(r"(?:(sha256|md5):)?([0-9a-fA-F]{8,64})")


@dataclass(frozen=True)
class Checksum:
    """What a file must hash to.

    Attributes
    ----------
    algorithm : ``sha256`` or ``md5``
    digest : hexadecimal; of a sha256 the first 8 digits or more, as torch.hub puts them in names
    """

    algorithm: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Checksum":
        """Read ``sha256:…``, ``md5:…``, or digits alone: 32 of them are an md5, others a sha256."""
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise CommandError(f"{text!r} is no checksum: give sha256:… or md5:… in hexadecimal")
        digest = match[2].lower()
        algorithm = match[1] or ("md5" if len(digest) == _DIGEST_LENGTHS["md5"] else "sha256")
        whole = len(digest) == _DIGEST_LENGTHS[algorithm]
        if not whole and algorithm == "md5":
            raise CommandError(f"{text!r} is no checksum: an md5 has 32 hexadecimal digits")
        return cls(algorithm, digest)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"

    def require(self, path: Path, what: str) -> None:
        """Raise ``CommandError`` if the file at ``path``, called ``what``, has another checksum."""
        found = file_digest(path, self.algorithm)
        if not found.startswith(self.digest):
            raise CommandError(
                f"{what}: its {self.algorithm} is {found}, not {self.digest}: it is another file "
                "than expected, or was damaged on its way"
            )

    def matches(self, path: Path) -> bool:
        return path.is_file() and file_digest(path, self.algorithm).startswith(self.digest)


def file_digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
