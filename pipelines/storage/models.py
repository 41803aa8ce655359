"""Models read from wherever they lie, with the retries and errors of every other read."""

from pipelines.storage.errors import (
    HOW_TO_LOG_IN,
    AccessDenied,
    StoreUnavailable,
    one_line,
    store_errors,
)
from pipelines.storage.filesystems import read_whole
from pipelines.storage.retry import PATIENCE_S, with_retries
from pipelines.storage.uris import is_local, local_path, refuse_credentials
from tagger import card
from tagger.card import ModelFiles
from tagger.errors import CommandError


def read_model(url: str, patience_s: float = PATIENCE_S) -> ModelFiles:
    """Read and verify the model at a folder or URI.

    Raises
    ------
    CommandError : no model there, or one that this version cannot run
    AccessDenied, StoreUnavailable : from the store that holds it
    """
    refuse_credentials(url, "model")
    if is_local(url):
        return card.read_model(local_path(url))
    return card.read_model(url, lambda folder, name: _read(f"{folder}/{name}", patience_s))


def read_tagging_model(url: str, patience_s: float = PATIENCE_S) -> ModelFiles:
    """``read_model`` of one that can tag: CommandError where it has extractors only."""
    model = read_model(url, patience_s)
    model.card.require_members()
    return model


def _read(uri: str, patience_s: float) -> bytes:
    """The bytes of one file of a remote model."""
    try:
        return with_retries(lambda: read_whole(uri), f"reading {uri}", patience_s)
    except (AccessDenied, StoreUnavailable):
        raise
    except FileNotFoundError as error:
        raise CommandError(f"{uri} does not exist; name the folder of a model") from error
    except PermissionError as error:
        raise AccessDenied(f"{uri}: {one_line(error)}; {HOW_TO_LOG_IN}") from error
    except store_errors() as error:
        raise CommandError(f"{uri} cannot be read: {one_line(error)}") from error
