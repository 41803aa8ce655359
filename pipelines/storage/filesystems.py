"""The fsspec file systems that everything remote is read and written through."""

import io
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from pipelines.storage import web
from pipelines.storage.bounds import ANSWER_S, take
from pipelines.storage.errors import TooMuch
from pipelines.storage.uris import is_s3, scheme_of, split_s3
from pipelines.storage.web import ANYWHERE, Reach, is_web
from tagger.errors import CommandError

N_CONNECTIONS: Final = 32  # to one object store
MOST_BYTES: Final = 4 << 30  # of a file that is read into memory
CHUNK_BYTES: Final = 256 << 10


def filesystem(uri: str) -> Any:
    """The fsspec filesystem that holds ``uri``, one per process, host and AWS environment.

    Its own retries are switched off: ``pipelines.storage.retry`` does and counts them.

    ``fsspec.core.url_to_fs`` would do the same for other schemes than S3, but it takes ``::`` in a
    URI for a chain of file systems, and so would let a name in a manifest open any of them.

    Raises
    ------
    CommandError : no such scheme, or its package is missing or not configured
    """
    import fsspec

    scheme = "s3" if is_s3(uri) else scheme_of(uri)
    try:
        if scheme != "s3":
            options = fsspec.get_filesystem_class(scheme)._get_kwargs_from_urls(uri)
            return fsspec.filesystem(scheme, use_listings_cache=False, **options)
        settings = sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))
        return _s3_filesystem(os.getpid(), tuple(settings))
    except ImportError as error:
        raise CommandError(f"{scheme}:// needs a package that is missing: {error}") from error
    except (OSError, TypeError, ValueError) as error:
        raise CommandError(
            f"{scheme}:// cannot be opened: {error}; is it spelt right, its package installed,"
            " and its access configured?"
        ) from error


def read_whole(uri: str, most_bytes: int = MOST_BYTES, reach: Reach = ANYWHERE) -> bytes:
    """The bytes of the file at ``uri``; raises as ``copy_whole``."""
    body = io.BytesIO()
    copy_whole(uri, body.write, most_bytes, reach)
    return body.getvalue()


def copy_whole(
    uri: str, write: Callable[[bytes], object], most_bytes: int, reach: Reach = ANYWHERE
) -> None:
    """Pass the file at ``uri`` on to ``write``, in one request.

    On S3 without a HEAD before it, as s3fs has it for reading in parts: the answer to a HEAD has no
    body, and so does not say why the store refuses.

    Raises
    ------
    TooMuch : the file is larger than ``most_bytes``
    """
    if is_web(uri):
        web.fetch(uri, write, reach, size_bytes=None, most_bytes=most_bytes)
        return
    if is_s3(uri):
        bucket, key = split_s3(uri)
        copy_s3(write, most_bytes, Bucket=bucket, Key=key)
        return
    fs = filesystem(uri)
    size_bytes = fs.info(uri).get("size")
    if size_bytes is None or size_bytes > most_bytes:
        raise TooMuch(f"more than {most_bytes:,} bytes")
    if size_bytes:
        write(fs.cat_file(uri, start=0, end=size_bytes))


def copy_s3(write: Callable[[bytes], object], most_bytes: int, **request: Any) -> dict[str, Any]:
    """Pass an object of S3 on to ``write``; returns the answer to the GET.

    Raises
    ------
    TooMuch : the body is larger than ``most_bytes``
    """
    from fsspec.asyn import sync

    fs = filesystem("s3://")
    answer: dict[str, Any] = fs.call_s3("get_object", **request)
    n_bytes = sync(fs.loop, _take_s3, answer, most_bytes, write)
    if n_bytes != answer["ContentLength"]:
        raise ConnectionResetError(f"{n_bytes} of {answer['ContentLength']} bytes")
    return answer


async def _take_s3(
    answer: dict[str, Any], most_bytes: int, write: Callable[[bytes], object]
) -> int:
    body = answer["Body"]
    try:
        if answer["ContentLength"] > most_bytes:
            raise TooMuch(f"more than {most_bytes:,} bytes")
        return await take(body.iter_chunks(CHUNK_BYTES), most_bytes, write)
    finally:
        body.close()


def name_on(fs: Any, uri: str) -> str:
    """What the filesystem ``fs`` calls the file at ``uri``, as in the answers of ``find``."""
    name: str = fs._strip_protocol(uri)
    return name


@lru_cache(maxsize=4)
def _s3_filesystem(process_id: int, environment: tuple[tuple[str, str], ...]) -> Any:
    import s3fs

    config = {
        "max_pool_connections": N_CONNECTIONS,
        "retries": {"total_max_attempts": 1},
        "read_timeout": ANSWER_S,
    }
    fs = s3fs.S3FileSystem(config_kwargs=config, use_listings_cache=False, skip_instance_cache=True)
    fs.retries = 1
    return fs
