"""Stores that die before a change: what a process leaves that is killed there."""

from collections.abc import Iterable

from pipelines.storage.store import LocalStore, S3Store, Store


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """Dies instead of its n-th change; each file removed is a change of its own."""

    changes_left = 0

    def _change(self) -> None:
        if self.changes_left == 0:
            raise Killed
        self.changes_left -= 1

    def write(self, path: str, data: bytes) -> None:
        self._change()
        super().write(path, data)  # type: ignore[misc]

    def create(self, path: str, data: bytes) -> bool:
        self._change()
        return bool(super().create(path, data))  # type: ignore[misc]

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._change()
            super().remove([path])  # type: ignore[misc]


class MortalLocal(Mortal, LocalStore):
    """A local folder."""


class MortalS3(Mortal, S3Store):
    """An S3 prefix."""


def kills(out_url: str) -> Iterable[int]:
    """After how many changes to die: of every number locally, of every fifth on S3.

    What is killed is the same code on both, and a change costs far more on S3. Five is prime to the
    two and three by which the tests vary what comes after a kill.
    """
    return range(0, 1000, 5 if out_url.startswith("s3://") else 1)


def mortal(store: Store, n_changes: int) -> Store:
    """The same store, which dies instead of the change after ``n_changes``."""
    kind = MortalS3 if isinstance(store, S3Store) else MortalLocal
    found = kind(store.root)
    found.changes_left = n_changes
    return found
