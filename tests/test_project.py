"""The README, the cluster file and the Makefile say what is true."""

import argparse
import re
import shlex
from enum import IntEnum
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.cli.main import Exit, parser
from tagger import schema
from tagger.labels import ESC_10

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def verbs() -> dict[str, argparse.ArgumentParser]:
    (actions,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(actions.choices)


def test_every_verb_and_flag_is_in_the_readme() -> None:
    for verb, of_verb in verbs().items():
        assert re.search(rf"pipelines {verb}\b", README), verb
        for action in of_verb._actions:
            for flag in action.option_strings:
                assert flag in ("-h", "--help") or f"`{flag}`" in README, f"{verb} {flag}"
            assert action.help, f"{verb} {action.dest} has no help"


def test_every_command_of_the_readme_is_understood() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.partition("-m pipelines ")[2] for line in lines if "-m pipelines " in line]
    assert len(commands) >= 6
    for command in commands:
        parser().parse_args(shlex.split(command, comments=True))


def test_every_flag_of_the_readme_exists() -> None:
    known = {
        flag for of_verb in verbs().values() for a in of_verb._actions for flag in a.option_strings
    }
    known |= {"--address", "--working-dir", "--index-url"}  # ray's and pip's
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README)) <= known


def test_exit_codes_are_in_the_readme() -> None:
    codes: type[IntEnum] = Exit
    table = README.partition("| exit code |")[2].partition("\n\n")[0]
    said = {int(code) for code in re.findall(r"\b\d+\b", table.replace("`", ""))}
    assert said == {int(code) for code in codes} | {130, 143}


@pytest.mark.parametrize("table", schema.tables("float32"))
def test_tables_of_the_readme_have_the_columns_of_the_schema(table: str) -> None:
    row = re.search(rf"^\| `{table}` \|.*\| (.*) \|$", README, re.MULTILINE)
    assert row is not None
    assert row[1].split(", ") == schema.tables("float32")[table].names


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?m)(?:`|^)make (?:[A-Z]+=\S+ )?([a-z]+)\b", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_demo_label_set_is_told() -> None:
    assert len(ESC_10) == 10
    assert "ten sounds only" in README


def test_cluster_file_is_valid() -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(cluster))
    pinned = (ROOT / "Makefile").read_text(encoding="utf-8").partition("TORCH ?= ")[2].split()[0]
    assert any(pinned in command for command in cluster["setup_commands"])


def test_paper_map_names_what_exists() -> None:
    text = (ROOT / "tagger" / "PAPER.md").read_text(encoding="utf-8")
    for module in set(re.findall(r"`(\w+\.py)`", text)):
        folder = ROOT / "tests" if module.startswith("test_") else ROOT
        found = (path for ring in ("tagger", "pipelines") for path in (folder / ring).rglob(module))
        assert next(found, None), module
    decisions = [int(number) for number in re.findall(r"^\*\*D(\d+) ", text, re.MULTILINE)]
    assert decisions == list(range(1, len(decisions) + 1))
