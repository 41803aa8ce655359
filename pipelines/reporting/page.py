"""From figures and clips to HTML.

Whatever comes from tables, names of recordings before all, is text that others wrote. Jinja2
escapes it, and ``visible`` shows what in it would not be seen as itself; scripts get it as JSON in
ASCII. A policy in the page (Content Security Policy) lets nothing run or load but what the page
itself brings, so that an escape that was forgotten would not run either.
"""

import base64
import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.reporting.media import MIME
from pipelines.runtime.progress import duration
from pipelines.runtime.visible import visible
from pipelines.storage.store import Store
from pipelines.storage.uris import is_local, local_path
from tagger import __version__

Keep = Callable[[bytes, str], str]
"""Puts bytes of a picture or sound where the page finds them; gives what the page calls them.

The second argument is the end of the name, of ``MIME``."""

_STATIC: Final = resources.files("pipelines.reporting") / "static"
_INSIDE: Final = "data:"
_BESIDE: Final = "'self' file:"  # a page that is opened as a file is not itself to every browser


def keep_inside(data: bytes, suffix: str) -> str:
    """Keep a picture or sound in the page itself."""
    return f"data:{MIME[suffix]};base64,{base64.b64encode(data).decode('ascii')}"


def keep_beside(store: Store) -> Keep:
    """Keep pictures and sounds as files in the page's folder."""
    n_kept = 0

    def keep(data: bytes, suffix: str) -> str:
        nonlocal n_kept
        n_kept += 1
        path = f"media/{n_kept:05d}{suffix}"
        store.write(path, data)
        return path

    return keep


def render(template: str, scripts: tuple[str, ...], is_one_file: bool, **content: Any) -> str:
    """The HTML of a page.

    Parameters
    ----------
    template : name of the file in ``templates``
    scripts : names of the files in ``static`` that it runs
    is_one_file : whether its pictures and sounds are in it
    content : what the template shows
    """
    style = _static("page.css")
    code = "".join(map(_static, scripts))
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),  # noqa: S704 (files of this package)
            code=Markup(code),  # noqa: S704
            policy=_policy(style, code, _INSIDE if is_one_file else _BESIDE),
            version=__version__,
            **content,
        )
    )


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _policy(style: str, code: str, media: str) -> str:
    """What the page may do: run and look as its own texts say, show and play its own media."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(code)}",
            f"style-src {_hash(style)}",
            f"img-src {media}",
            f"media-src {media}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "name": name,
        "place": place,
        "clock": clock,
        "lasting": duration,
        "count": lambda n: f"{n:,}",
    }
    return environment


def name(uri: str) -> str:
    """What a recording is called in short: the last part of its URI, made visible."""
    path = local_path(uri) if is_local(uri) else uri
    return visible(path.rstrip("/").rpartition("/")[2] or path)


def place(uri: str) -> str:
    """Where a recording lies: its path or URI, made visible."""
    return visible(local_path(uri) if is_local(uri) else uri)


def clock(seconds: float) -> str:
    """A time in a recording: 4.1 s, 2:05 or 1:02:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"
