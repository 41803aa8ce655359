"""Names of clips: one canonical text per object, the same from every working directory.

    local    ``file:///abs/path``      plain text: no percent-encoding, in or out
    S3       ``s3://bucket/key``       the key as it is, whatever it contains
    other    ``scheme://...``          as it was written, and below a folder as fsspec names it

A local name that is not UTF-8 cannot be text; it becomes ``file+bytes://`` and the percent-encoded
bytes of the path, so that it too is listed, read and reported. So does one that ends like the name
of an audio track, ``file:///abs/path#track=2``. The bytes alone decide: a file has
the same name in every locale, and names that look alike and differ in bytes (``é`` as one letter or
as two) stay two.

URIs that hold credentials are refused and never repeated in a message.
"""

import glob
import hashlib
import os
import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tagger.errors import CommandError, OptionError

FILE: Final = "file://"
FILE_BYTES: Final = "file+bytes://"

_LOCAL: Final = ("file", "local")  # the two that fsspec's local file system answers to
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_TRACK: Final = re.compile(r"#track=[0-9]+\Z")
_IN_NAME: Final = r'[^=&?/"\s]*'  # of a query parameter
SECRET_PATTERN: Final = (
    r"(?i)s3a?://[^/?#]*[:@]|https?://[^/?#]*@|://[^/?#]*:[^/?#]*@"
    r'|://[^/?#:@\["\s]*:\d*[^\d/?#"\s][^"\s]*@'  # a password with a slash in it, and no port
    rf"|://[^\n]*\?([^\n]*[?&])?({_IN_NAME}key([-_]?id)?|({_IN_NAME}[-_.])?(auth|creds?|pass|pwd|sig)"
    rf"|{_IN_NAME}(authori[sz]ation|credential|jwt|passw|secret|signature|token){_IN_NAME})="
)
"""Matches a URI with a password, a key or a signature in it (the same in ``re`` and in Arrow)."""

_holds_secret: Final = re.compile(SECRET_PATTERN).search


def scheme_of(text: str) -> str:
    """The lower-case scheme of a URI; ``""`` for a plain path."""
    match = _SCHEME.match(text)
    return match[1].lower() if match else ""


def is_local(uri: str) -> bool:
    """Whether a path or URI names something in the local file system."""
    return scheme_of(uri) in ("", "file+bytes", *_LOCAL)


def refuse_credentials(text: str, where: str) -> None:
    """Raise ``OptionError`` for a URI that holds credentials, without repeating them.

    Parameters
    ----------
    where : name of the option that holds the URI, or another place
    """
    if not is_local(text) and _holds_secret(text):
        raise refused_credentials(text, where)


def refused_credentials(text: str, where: str) -> OptionError:
    """What to raise for a URI that holds credentials; see ``refuse_credentials``."""
    return OptionError(
        where,
        f"holds credentials: take them out of the {scheme_of(text)} URI and give them through "
        "the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE) or fsspec's configuration",
    )


def local_path(uri: str) -> str:
    """The path behind a plain path or a URI for which ``is_local`` holds."""
    if uri.startswith(FILE_BYTES):
        return os.fsdecode(unquote_to_bytes(uri[len(FILE_BYTES) :]))
    if scheme_of(uri) not in _LOCAL:
        return uri
    host, slash, path = uri.partition("://")[2].partition("/")
    text = f"{'' if slash and host.lower() == 'localhost' else host}{slash}{path}"
    return path_of_text(text)


def path_of_text(text: str) -> str:
    """The path that a text from a file or table names: its bytes in UTF-8, in any locale."""
    return os.fsdecode(text.encode(errors="surrogateescape"))


def named_path(text: str) -> str:
    """The path that a person means by a plain path or a local URI.

    A ``file:`` URI may be one of ours, which is plain text, or percent-encoded, as of
    ``Path.as_uri()``. Where it can be read in both ways, the name that exists is meant.

    Raises
    ------
    CommandError : there are files of both names
    """
    plain, decoded = both_paths(text)
    if _firm(plain) == _firm(decoded) or not os.path.lexists(_firm(plain)):
        return decoded
    if os.path.lexists(_firm(decoded)):
        raise CommandError(
            f"{text!r} may mean {plain!r} or {decoded!r}, and there are both: give the path "
            "without file://"
        )
    return plain


def _firm(path: str) -> str:
    """The path, or of a glob the folder that it starts from: what can be looked for."""
    if os.path.lexists(path) or not glob.has_magic(path):
        return path
    return os.path.dirname(re.split(r"[*?[]", path, maxsplit=1)[0])  # noqa: PTH120


def both_paths(text: str) -> tuple[str, str]:
    """The path of a plain path or local URI as it is written, and as RFC 8089 reads it."""
    if text[:6].lower() == "file:/" and not text[6:].startswith("/"):
        text = f"{FILE}{text[5:]}"  # the short form of RFC 8089
    plain = local_path(text)
    if scheme_of(text) not in _LOCAL or not plain.startswith("/"):
        return plain, plain
    return plain, os.fsdecode(unquote_to_bytes(os.fsencode(plain)))


def local_uri(path: str) -> str:
    """The canonical URI of an absolute local path."""
    data = os.fsencode(path)
    if _TRACK.search(path):
        return FILE_BYTES + quote_from_bytes(data)
    try:
        return FILE + data.decode()
    except UnicodeDecodeError:
        return FILE_BYTES + quote_from_bytes(data)


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key is taken letter by letter."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def is_s3(uri: str) -> bool:
    return scheme_of(uri) in ("s3", "s3a")


def canonical(text: str) -> str:
    """The canonical URI for a path or URI; relative paths start from the working directory."""
    if is_local(text):
        return local_uri(os.path.abspath(local_path(text)))  # noqa: PTH100 (keeps links and bytes)
    scheme = "s3" if is_s3(text) else scheme_of(text)
    return f"{scheme}://{text.partition('://')[2]}"


def track_uri(uri: str, track: int) -> str:
    """The name of one audio track of a recording."""
    return f"{uri}#track={track}"


def track_id(uri: str, version: str, track: int) -> str:
    """The clip_id of one audio track of a recording; no file can have it, whatever its name."""
    return hashlib.sha256(f"{uri}\0{version}\0track={track}".encode()).hexdigest()[:32]


def is_track_uri(text: str) -> bool:
    """Whether a text is how a track of a local file is named, as no local file is."""
    return text.startswith(FILE) and bool(_TRACK.search(text))


def recording_uri(clip_id: str, uri: str, version: str) -> str:
    """The recording that a clip is of: its own URI, or that of which it is a track."""
    base, _, track = uri.rpartition("#track=")
    is_track = track.isdigit() and clip_id == track_id(base, version, int(track))
    return base if is_track else uri


def named_uri(text: str) -> str:
    """The canonical URI of what a person means by a path or URI; raises as ``named_path``."""
    return canonical(named_path(text) if is_local(text) else text)


def clip_id(uri: str, version: str) -> str:
    """128 bits of sha256 over a canonical URI and a version: 32 hexadecimal digits."""
    return hashlib.sha256(f"{uri}\0{version}".encode()).hexdigest()[:32]
