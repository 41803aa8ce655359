"""Listing object stores: S3 page by page, other fsspec schemes as fsspec does it.

S3 pages are read as they come and turned into rows at once: no object of Python's per file lives
longer than its page.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, Final, TypeVar

from pipelines.inputs import web_folders
from pipelines.inputs.access import ALLOW_PRIVATE, ANY, Access
from pipelines.inputs.versions import Found, info_version, plain_etag
from pipelines.storage.errors import (
    AccessDenied,
    PrivateHost,
    StoreUnavailable,
    error_code,
    one_line,
    store_errors,
)
from pipelines.storage.filesystems import N_CONNECTIONS, filesystem, name_on
from pipelines.storage.uris import is_s3, split_s3
from pipelines.storage.web import is_web
from tagger.errors import CommandError

_PAGE_PER_HEADS: Final = 20  # a listing page may cost as much as this many single look-ups
_ELSEWHERE: Final = frozenset(
    {"301", "307", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"}
)

_T = TypeVar("_T")


def find_below(uri: str, access: Access = ANY) -> Iterator[Found]:
    """Every object below a prefix that is meant as a folder, or in a whole bucket."""
    if is_s3(uri):
        bucket, key = split_s3(uri)
        return _s3_objects(bucket, key if not key or key.endswith("/") else f"{key}/", access)
    return _others(uri, access)


def is_folder(uri: str, access: Access = ANY) -> bool:
    """Whether there is anything below a prefix that is meant as a folder, letter by letter."""
    if is_s3(uri):
        bucket, key = split_s3(f"{uri.rstrip('/')}/")
        return next(_s3_objects(bucket, key, access, MaxKeys=1), None) is not None
    if is_web(uri):
        return web_folders.look_up([uri], access)[0].version != ""
    fs = filesystem(uri)
    return bool(_asked(lambda: fs.exists(uri), uri, access))


def find_from(literal: str, access: Access = ANY) -> Iterator[Found]:
    """Every object whose URI begins with ``literal``; outside S3 all others of its folder too."""
    if is_s3(literal):
        return _s3_objects(*split_s3(literal), access)
    return _others(literal.rpartition("/")[0], access)


def look_up(uris: Sequence[str], access: Access = ANY) -> list[Found]:
    """The versions and sizes of named objects, in order; version "" where there is none."""
    by_place = defaultdict(list)
    of_web = [uri for uri in uris if is_web(uri)]
    known = {found.uri: found for found in web_folders.look_up(of_web, access)}
    for uri in uris:
        if not is_web(uri):
            by_place["/".join(uri.split("/")[:3])].append(uri)
    for place, wanted in by_place.items():
        if is_s3(place):
            known |= _s3_known(place[5:], wanted, access)
        else:
            known |= _others_known(wanted, access)
    return [known.get(uri, Found(uri)) for uri in uris]


def _asked(call: Callable[[], _T], place: str, access: Access) -> _T:
    """The store's answer, or in one line what is wrong with the place itself."""
    from botocore.exceptions import ParamValidationError

    try:
        return access.ask(call, place, f"listing {place}")
    except (AccessDenied, StoreUnavailable):
        raise
    except ParamValidationError as error:
        raise CommandError(f"{place} is not a bucket name; write s3://bucket/prefix") from error
    except FileNotFoundError as error:
        raise CommandError(
            f"{place} does not exist; check the name, AWS_ENDPOINT_URL and AWS_PROFILE"
        ) from error
    except PermissionError as error:
        raise AccessDenied(
            f"{place} may not be listed; the credentials need s3:ListBucket on it"
        ) from error
    except store_errors() as error:
        if error_code(error) in _ELSEWHERE:
            raise CommandError(f"{place} lies in another region; set AWS_REGION") from error
        raise CommandError(f"{place} cannot be listed: {one_line(error)}") from error


def _s3_objects(bucket: str, prefix: str, access: Access, **options: Any) -> Iterator[Found]:
    for page in _s3_pages(bucket, prefix, access, **options):
        for entry in page:
            uri = f"s3://{bucket}/{entry['Key']}"
            yield Found(uri, plain_etag(entry["ETag"]), entry["Size"])


def _s3_pages(
    bucket: str, prefix: str, access: Access, **options: Any
) -> Iterator[list[dict[str, Any]]]:
    fs = filesystem("s3://")
    request = {"Bucket": bucket, "Prefix": prefix, **options}
    while True:
        page = _asked(lambda: fs.call_s3("list_objects_v2", **request), f"s3://{bucket}", access)
        yield page.get("Contents", [])
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _s3_known(bucket: str, uris: Sequence[str], access: Access) -> dict[str, Found]:
    """Look up objects of one bucket: whole folders where many are wanted, else one by one."""
    folders = defaultdict(set)
    for uri in uris:
        folders[uri.rpartition("/")[0]].add(uri)
    known: dict[str, Found] = {}
    rest: set[str] = set()
    for folder, wanted in folders.items():
        prefix = split_s3(f"{folder}/")[1]
        pages = _s3_pages(bucket, prefix, access, Delimiter="/")
        for _ in range(len(wanted) // _PAGE_PER_HEADS):
            page = next(pages, None)
            if page is None or not wanted:
                break
            for entry in page:
                uri = f"s3://{bucket}/{entry['Key']}"
                if uri in wanted:
                    wanted.remove(uri)
                    known[uri] = Found(uri, plain_etag(entry["ETag"]), entry["Size"])
        rest |= wanted
    return known | _s3_heads(bucket, sorted(rest), access)


def _s3_heads(bucket: str, uris: Sequence[str], access: Access) -> dict[str, Found]:
    """Look up objects one by one, many at a time.

    By a listing of length one, not HEAD: it needs the right to list only, and says why it fails.
    The first key that begins with a key is that key itself, if it exists.
    """

    def one(uri: str) -> Found | None:
        first = next(_s3_objects(bucket, split_s3(uri)[1], access, MaxKeys=1), None)
        return first if first and first.uri == uri else None

    return _looked_up(one, uris)


def _others(uri: str, access: Access) -> Iterator[Found]:
    if is_web(uri):
        return _of_web(uri, access)
    fs = filesystem(uri)
    found = _asked(lambda: fs.find(uri, detail=True), uri, access)
    if not found and not _asked(lambda: fs.exists(uri), uri, access):
        raise CommandError(f"{uri} does not exist; check the name")
    base, base_name = uri.rstrip("/"), name_on(fs, uri).rstrip("/")
    infos = {base + name[len(base_name) :]: found[name] for name in sorted(found)}
    return (_found(name, info) for name, info in infos.items())


def _of_web(uri: str, access: Access) -> Iterator[Found]:
    """The files below a folder of an http server; the first page is asked for at once."""
    found = web_folders.find(uri, access)
    try:
        first = next(found, None)
    except PrivateHost as error:
        raise CommandError(f"{uri} {error}; {ALLOW_PRIVATE}") from error
    except FileNotFoundError as error:
        raise CommandError(f"{uri} does not exist; check the name") from error
    except OSError as error:
        if isinstance(error, StoreUnavailable):
            raise
        raise CommandError(f"{uri} cannot be listed: {one_line(error)}") from error
    return chain([first] if first else [], found)


def _others_known(uris: Sequence[str], access: Access) -> dict[str, Found]:
    fs = filesystem(uris[0])

    def one(uri: str) -> Found | None:
        try:
            info = access.ask(lambda: fs.info(uri), uri, f"looking up {uri}")
        except (FileNotFoundError, IsADirectoryError):
            return None
        return _found(uri, info) if info.get("type") == "file" else None

    return _looked_up(one, uris)


def _looked_up(one: Callable[[str], Found | None], uris: Sequence[str]) -> dict[str, Found]:
    """What ``one`` finds at each of the URIs, many at a time."""
    with ThreadPoolExecutor(N_CONNECTIONS) as pool:
        return {found.uri: found for found in pool.map(one, uris) if found}


def _found(uri: str, info: dict[str, Any]) -> Found:
    return Found(uri, info_version(info), int(info.get("size") or 0))
