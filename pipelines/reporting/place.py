"""Where a page goes: one file, or a folder with its pictures and sounds, here or in a bucket."""

from typing import Final

from pipelines.reporting.job import ReportJob
from pipelines.reporting.page import Keep, keep_beside, keep_inside
from pipelines.storage.store import open_store
from pipelines.storage.tidying import tidy

INDEX: Final = "index.html"


class Place:
    """The place that a job names.

    Attributes
    ----------
    page : path or URI of the page
    keep : puts pictures and sounds where the page finds them

    Raises
    ------
    CommandError : there can be no page
    """

    def __init__(self, job: ReportJob) -> None:
        folder, slash, self._name = job.out.rpartition("/")
        if not job.is_one_file:
            folder, self._name = job.out, INDEX
        self._store = open_store(folder or slash or ".", job.store_patience_s)
        self.page = f"{self._store.root.rstrip('/')}/{self._name}"
        self.keep: Keep = keep_inside if job.is_one_file else keep_beside(self._store)

    def write(self, text: str) -> None:
        """Write the page, whole or not at all."""
        self._store.write(self._name, text.encode())
        tidy(self._store)
