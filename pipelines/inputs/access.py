"""How inputs may be read: how much of them, from where, and for how long a store is waited for."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from pipelines.storage.retry import PATIENCE_S, of_many_hosts, with_retries
from pipelines.storage.web import ANYWHERE, Reach, is_web, origin
from tagger.configs import require_positive

ALLOW_PRIVATE: Final = "--allow-private-hosts lets manifests and redirects lead there"

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class InputLimits:
    """Where manifests and links may lead, and how much may come of them."""

    allow_local: bool = False
    """Let manifests name local files anywhere. Without it they may name those below the folders
    that the command names, a manifest's own folder included."""

    allow_private_hosts: bool = False
    """Let manifests and redirects lead to hosts that are not on the public internet, such as
    127.0.0.1, 10.0.0.0/8 or 169.254.169.254. Hosts that the command itself names always may be."""

    manifest_mb: int = 768
    """Most that a manifest may hold, as it lies there and unpacked: a million rows with 700 bytes
    each. A row counts as 64 bytes at least."""

    extra_mb: float = 1.0
    """Most that the further columns of one row of a manifest may hold, as JSON."""

    http_links: int = 100_000
    """Most pages and files that a folder of an http server may link to, with those below it."""

    unsized_mb: int = 512
    """Most that is taken of a recording whose size its http server does not tell."""

    def __post_init__(self) -> None:
        for name in ("manifest_mb", "extra_mb", "http_links", "unsized_mb"):
            require_positive(name, getattr(self, name))


@dataclass(frozen=True)
class Access:
    """How a job reads what its inputs name. As it is made without arguments, nothing is refused.

    Attributes
    ----------
    patience_s : seconds to go on retrying one request to a store
    origins : hosts (``storage.web.origin``) that the command names; None: whoever made the list
        is trusted as the command is
    folders : real paths of folders that the command names; None likewise
    """

    limits: InputLimits = InputLimits()
    patience_s: float = PATIENCE_S
    origins: frozenset[str] | None = None
    folders: tuple[str, ...] | None = None

    @cached_property
    def reach(self) -> Reach:
        return ANYWHERE if self.limits.allow_private_hosts else Reach(self.origins)

    def ask(self, call: Callable[[], _T], uri: str, what: str) -> _T:
        """The result of a request, repeated as ``storage.retry`` does.

        A host that the command does not name has rows of a manifest at most: it is not waited for
        again and again.
        """
        if self.named(uri):
            return with_retries(call, what, self.patience_s)
        return of_many_hosts(call, origin(uri), what, self.patience_s)

    def named(self, uri: str) -> bool:
        """Whether the command names the store of ``uri``, so that the job needs it to answer."""
        return self.origins is None or not is_web(uri) or origin(uri) in self.origins

    def may_read(self, path: str) -> bool:
        """Whether a manifest may name the local file ``path``, wherever links lead."""
        if self.limits.allow_local or self.folders is None:
            return True
        real = os.path.realpath(path)
        return any(real.startswith(folder.rstrip("/") + "/") for folder in self.folders)


ANY: Final = Access()
"""For lists that are trusted as a command line is."""
