"""What keeps the code readable, as far as a program can see it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path for package in ("pipelines", "tagger") for path in ROOT.glob(f"{package}/**/*.py")
)
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 50

ABSENT = re.compile(r"\(design\b|\bdesign \d|\bdesign section|reference/\w+\.md|shared/")
"""Ways to cite documents that are not in the repository."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_can_be_read_in_five_minutes(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, node.name


def test_the_library_speaks_no_command_line():
    for path in MODULES:
        if path.parent.name == "tagger":
            assert not re.findall(r"(?<![\w-])--[a-z]", path.read_text(encoding="utf-8")), path


def test_nothing_cites_a_document_that_is_not_here():
    sources = [
        path for suffix in ("py", "md", "yaml", "toml") for path in ROOT.glob(f"*/**/*.{suffix}")
    ]
    sources += [path for path in ROOT.iterdir() if path.suffix in (".md", ".yaml", ".toml")]
    for path in sources:
        if ".venv" not in path.parts and path != Path(__file__):
            found = ABSENT.findall(path.read_text(encoding="utf-8"))
            assert not found, f"{name_of(path)}: {found}"
