"""Help texts: what is in them, and that they fit the terminal."""

import sys

import pytest

from pipelines.cli.help import help_of, help_of_all
from pipelines.cli.verb import description, example, options, summary
from pipelines.cli.verbs import VERBS


def plain(text):
    return " ".join(text.split())


def test_all_verbs_are_listed_with_what_they_do():
    text = plain(help_of_all(VERBS))
    for name, verb in VERBS.items():
        assert f"{name} {summary(verb)}" in text


@pytest.mark.parametrize("name", VERBS)
def test_help_begins_with_what_the_verb_does_and_ends_with_an_example(name):
    text = help_of(name, VERBS[name], {})
    usage, rest = text.split("\n\n", 1)
    assert usage.startswith(f"usage: python -m pipelines {name}")
    assert plain(rest).startswith(plain(description(VERBS[name])))
    assert plain(text).endswith(f"example: {plain(example(VERBS[name]))}")
    for option in options(VERBS[name]):
        assert option.help in plain(text)
        assert f"  {option.flag if not option.positional else option.values}" in text


def test_usage_tells_what_is_required():
    usage = help_of("weights", VERBS["weights"], {}).splitlines()[0]
    assert usage == "usage: python -m pipelines weights [SOURCE] --out OUT [options]"


def test_defaults_and_what_is_required_are_told():
    text = plain(help_of("tag", VERBS["tag"], {}))
    assert "clip gets, at most: those with the highest scores. (default: 3)" in text
    assert "it is made if it is not there. (required)" in text
    assert "(default: the bundled one)" in text
    assert "Tell what a run would do, and do nothing. --print" in text


def test_defaults_that_depend_on_another_option_are_told():
    verb = VERBS["finetune"]
    assert "starts. (default: 30)" in plain(help_of("finetune", verb, {}))
    defaults = verb.defaults({"network": "baseline"})
    assert "starts. (default: 5)" in plain(help_of("finetune", verb, defaults))


@pytest.mark.parametrize("columns", [72, 80, 100, 200])
def test_lines_fit_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, verb in VERBS.items():
        body = help_of(name, verb, {}).partition("\n\n")[2].partition("example:")[0]
        names = {f"  {o.flag} {o.values}".rstrip() for o in options(verb)}
        lines = [line for line in body.splitlines() if line not in names]
        assert max(map(len, lines)) <= min(columns, 100)


def test_the_installed_command_calls_itself_by_its_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/archive-tagger", "tag", "--help"])
    text = help_of("tag", VERBS["tag"], {})
    assert text.startswith("usage: archive-tagger tag INPUT")
    assert "  archive-tagger tag s3://" in text
    assert "python -m" not in text
