"""Folders of http servers, as the pages of links that they show; and files named one by one.

Whoever wrote a page need not mean well. So a page has so many bytes at most, a pattern passes over
it once, links count that stay below the folder, each page is read once, and all have a limit.
"""

import html
import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final
from urllib.parse import urljoin

from pipelines.inputs.access import ALLOW_PRIVATE, Access
from pipelines.inputs.versions import Found, info_version
from pipelines.storage import web
from pipelines.storage.errors import NotAsAsked, PrivateHost, StoreUnavailable, TooMuch, one_line
from tagger.errors import CommandError, OptionError, Reason

PAGE_BYTES: Final = 64 << 20  # half a million links
DEEPEST: Final = 32  # folders below the one that is named
N_AT_A_TIME: Final = 32  # requests for sizes
_ROWS: Final = 1024

_TAG: Final = re.compile(rb"<a\s([^<>]{0,8192})>", re.IGNORECASE)
_log = logging.getLogger(__name__)
_HREF: Final = re.compile(rb"(?:^|\s)href\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.I)


def find(folder: str, access: Access) -> Iterator[Found]:
    """Every file that the pages below a folder link to, with size and version.

    Raises
    ------
    FileNotFoundError, PermissionError, NotAsAsked : as the server says of the folder itself
    OptionError, CommandError : there are more links than the limit, or no end to the folders
    """
    names = _files(folder.rstrip("/") + "/", access)
    while some := list(islice(names, _ROWS)):
        yield from look_up(some, access)


def _files(top: str, access: Access) -> Iterator[str]:
    most = access.limits.http_links
    n_links = 0
    seen = {top}
    folders = deque([top])
    while folders:
        folder = folders.popleft()
        for link in _links(folder, top, access):
            n_links += 1
            if n_links > most:
                raise OptionError("http_links", f"is {most:,}, and {top} links to more")
            if not link.endswith("/"):
                yield link
            elif link not in seen:
                if link.count("/") - top.count("/") > DEEPEST:
                    raise CommandError(
                        f"{top} links to folders in folders, more than {DEEPEST} deep: name those "
                        "that you mean"
                    )
                seen.add(link)
                folders.append(link)


def _links(folder: str, top: str, access: Access) -> Iterator[str]:
    """Links of a page to what lies below ``top``; twins that stand beside each other count once."""
    last = ""
    for tag in _TAG.finditer(_page(folder, top, access)):
        link = _target(tag[1], folder)
        if link.startswith(top) and link not in (top, folder, last) and "?" not in link:
            last = link
            yield link


def _page(folder: str, top: str, access: Access) -> bytearray:
    """What the server shows of a folder; nothing where a link to it is dead."""
    page = bytearray()

    def read() -> None:
        page.clear()
        web.fetch(folder, page.extend, access.reach, size_bytes=None, most_bytes=PAGE_BYTES)

    try:
        access.ask(read, folder, f"listing {folder}")
    except TooMuch as error:
        raise CommandError(
            f"{folder} is a page of more than {PAGE_BYTES >> 20} MiB: write its files to a manifest"
        ) from error
    except (FileNotFoundError, PermissionError, NotAsAsked, PrivateHost) as error:
        if folder == top:
            raise
        _log.warning("%s is linked to, but cannot be listed: %s", folder, one_line(error))
        page.clear()
    return page


def _target(attributes: bytes, folder: str) -> str:
    """Where the tag of a link leads from the page of a folder; "" where it is no link."""
    href = _HREF.search(attributes)
    if not href:
        return ""
    written = next(text for text in href.groups() if text is not None)
    try:
        link = urljoin(folder, html.unescape(written.decode(errors="replace").strip()))
    except ValueError:  # no URL
        return ""
    return link.partition("#")[0]


def look_up(uris: Sequence[str], access: Access) -> list[Found]:
    """Size and version of named files, in order; why not, where a host or its answer is bad.

    Raises
    ------
    StoreUnavailable : a host that the command itself names does not answer
    """
    with ThreadPoolExecutor(N_AT_A_TIME) as pool:
        return list(pool.map(lambda uri: _look_at(uri, access), uris))


def _look_at(uri: str, access: Access) -> Found:
    def ask() -> dict[str, Any]:
        return web.look_at(uri, access.reach)

    try:
        info = access.ask(ask, uri, f"looking up {uri!r}")
    except FileNotFoundError:
        return Found(uri)
    except PrivateHost as error:
        return Found(uri, problem=f"{Reason.REFUSED}: {error}; {ALLOW_PRIVATE}")
    except (NotAsAsked, PermissionError) as error:
        return Found(uri, problem=f"{Reason.UNREADABLE}: {one_line(error)}")
    except StoreUnavailable as error:
        if access.named(uri):
            raise
        return Found(uri, problem=f"{Reason.UNREADABLE}: {one_line(error)}")
    return Found(uri, info_version(info), info["size"] or 0)
