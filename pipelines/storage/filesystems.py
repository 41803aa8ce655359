"""The fsspec file systems that everything remote is read and written through."""

import os
from functools import lru_cache
from typing import Any, Final

from pipelines.storage.uris import is_s3, scheme_of
from tagger.errors import CommandError

N_CONNECTIONS: Final = 32  # to one object store
ANSWER_S: Final = 30  # without a byte from the store, after which a request is repeated


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


def read_whole(uri: str) -> bytes:
    """The bytes of the file at ``uri``, in one request.

    On S3 without a HEAD before it, as s3fs has it for reading in parts: the answer to a HEAD has no
    body, and so does not say why the store refuses.
    """
    options = {"max_concurrency": 1} if is_s3(uri) else {}
    data: bytes = filesystem(uri).cat_file(uri, **options)
    return data


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
