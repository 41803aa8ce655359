"""``python -m pipelines.cli.reference > docs/options.md``: all commands, options and exit codes."""

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from pipelines.cli.exit_codes import Exit
from pipelines.cli.help import called, in_groups
from pipelines.cli.options import Option, options_of
from pipelines.cli.verb import EveryVerb, Verb, description, example, summary
from pipelines.cli.verbs import VERBS

HEAD: Final = """# Commands, options, exit codes

This page is made by `python -m pipelines.cli.reference > docs/options.md`. Where the package is
installed, the command `archive-tagger` is the same as `python -m pipelines`."""


def page() -> str:
    """The page as Markdown."""
    commands = ((f"[`{name}`](#{name})", summary(verb)) for name, verb in VERBS.items())
    codes = ((f"{code}", code.meaning) for code in Exit)
    parts = [
        HEAD,
        _table(("command", ""), commands),
        f"Every command also takes\n\n{_options(options_of(EveryVerb))}",
        *(part for name, verb in VERBS.items() for part in _section(name, verb)),
        f"## Exit codes\n\n{_table(('exit code', ''), codes)}",
    ]
    return "\n\n".join(parts) + "\n"


def _section(name: str, verb: type[Verb]) -> Iterator[str]:
    yield f"## {name}"
    yield description(verb)
    yield f"```sh\n{example(verb)}\n```"
    for title, more, members in in_groups(options_of(verb)):
        if title != "Options":
            yield f"**{title}.** {more}".rstrip()
        yield _options(members)


def _options(options: Iterable[Option]) -> str:
    rows = (
        (
            f"`{called(option)}`",
            option.help.replace("*", "\\*"),
            "required" if option.required else option.default_text,
        )
        for option in options
    )
    return _table(("option", "", "default"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
