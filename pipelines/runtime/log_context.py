"""Which run this process is at work on, so that what it logs can say so."""

from collections.abc import Iterator
from contextlib import contextmanager

_run_ids: list[str] = []


@contextmanager
def of_run(run_id: str) -> Iterator[None]:
    """What is logged inside, by whatever thread, belongs to a run."""
    _run_ids.append(run_id)
    try:
        yield
    finally:
        _run_ids.remove(run_id)


def current_run() -> str | None:
    """The run that this process is at work on; the inner one where runs are nested."""
    return _run_ids[-1] if _run_ids else None
