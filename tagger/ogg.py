"""How an Ogg file ends: whether the last page is whole, and whether it has other streams behind."""

import re
from itertools import takewhile
from typing import Final, NamedTuple

from tagger.recording import Reader

_PAGE: Final = re.compile(rb"OggS\0(.).{8}(.{4})", re.DOTALL)  # flags, serial of its stream
_BEGINS: Final = 2  # the flag of a stream's first page; those of all streams stand first
_ENDS: Final = 4  # the flag of a stream's last page
_HEADER: Final = 27  # bytes before the lengths of a page's segments
_LONGEST_PAGE: Final = 65_307
_FIRST_PAGES: Final = 4_096  # bytes that hold the first pages of all streams


class Ending(NamedTuple):
    """How an Ogg file ends.

    Attributes
    ----------
    is_whole : whether its last page, and the packet that ends on it, are complete
    is_marked : whether that page is marked as the last one
    is_chained : whether it ends with a stream that it does not begin with
    """

    is_whole: bool
    is_marked: bool
    is_chained: bool


def ending(reader: Reader) -> Ending | None:
    """How a file ends, or None where it is no Ogg file, or no page is found at its end."""
    head = reader.read_at(0, _FIRST_PAGES)
    if not head.startswith(b"OggS"):
        return None
    tail = reader.read_at(max(0, reader.size - _LONGEST_PAGE), _LONGEST_PAGE)
    at, last = len(tail), None
    while last is None and at > 0:  # the head of the last one may be cut
        at = tail.rfind(b"OggS\0", 0, at)
        last = _PAGE.match(tail, at) if at >= 0 else None
    if last is None:
        return None
    begun = {page[2] for page in takewhile(_begins, _PAGE.finditer(head))}
    return Ending(
        is_whole=_is_whole(tail[at:]),
        is_marked=bool(last[1][0] & _ENDS),
        is_chained=last[2] not in begun,
    )


def _begins(page: re.Match[bytes]) -> bool:
    return bool(page[1][0] & _BEGINS)


def _is_whole(page: bytes) -> bool:
    """Whether a page, with what follows it, is complete."""
    if len(page) < _HEADER:
        return False
    n = page[_HEADER - 1]
    lengths = page[_HEADER : _HEADER + n]
    end = _HEADER + n + sum(lengths)
    behind = page[end : end + 4]
    goes_on = lengths[-1:] == b"\xff"  # on a page that is not there
    begins_another = len(behind) > 0 and b"OggS".startswith(behind)
    return len(lengths) == n and len(page) >= end and not goes_on and not begins_another
