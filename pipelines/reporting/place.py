"""Where a page goes: one file, or a folder with its pictures and sounds, here or in a bucket."""

import os
import uuid
from pathlib import Path
from typing import Final

from pipelines.reporting.job import ReportJob
from pipelines.reporting.page import Keep, keep_beside, keep_inside
from pipelines.storage.errors import AccessDenied
from pipelines.storage.store import open_store
from pipelines.storage.uris import is_local, local_path
from tagger.errors import OptionError

INDEX: Final = "index.html"


class Place:
    """The place that a job names.

    Attributes
    ----------
    page : path or URI of the page
    keep : puts pictures and sounds where the page finds them

    Raises
    ------
    OptionError : there can be no page
    """

    def __init__(self, job: ReportJob) -> None:
        url = job.out if job.is_one_file else f"{job.out.rstrip('/')}/{INDEX}"
        self._folder, _, self._name = url.rpartition("/")
        self._is_file = job.is_one_file and is_local(url)
        if self._is_file:
            self.page = os.path.abspath(os.path.expanduser(local_path(url)))  # noqa: PTH100, PTH111
            if not Path(self.page).parent.is_dir():
                raise OptionError("out", f"lies in {Path(self.page).parent}, which is no folder")
        else:
            self._store = open_store(self._folder, job.store_patience_s)
            self.page = f"{self._store.root}/{self._name}"
        self.keep: Keep = keep_inside if job.is_one_file else keep_beside(self._store)

    def write(self, text: str) -> None:
        """Write the page, whole or not at all."""
        data = text.encode()
        if not self._is_file:
            self._store.write(self._name, data)
            return
        path = Path(self.page)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            raise AccessDenied(f"{path} cannot be written: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)
