"""The README, the docs, the cluster file and the Makefile say what is true."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.cli import reference
from pipelines.cli.exit_codes import Exit
from pipelines.cli.verb import EveryVerb, description, example, options, summary
from pipelines.cli.verbs import VERBS
from pipelines.training import finetune
from tagger import schema
from tagger.configs import VGGishConfig
from tagger.labels import ESC_10

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))}
TEXTS = {"README.md": README} | DOCS

FLAGS_OF_OTHERS = {"--address", "--working-dir", "--index-url", "--extra-index-url"}
"""Of ray and pip."""

CALLED = r"(?:-m pipelines|archive-tagger) "


def commands(text: str) -> list[list[str]]:
    """The words of every command of ours in the code blocks of a text."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.split(CALLED, line, maxsplit=1)[1:] for line in lines]
    return [shlex.split(after, comments=True) for (after,) in filter(None, found)]


def understand(words: list[str]) -> None:
    """As ``main`` does, up to what it would carry out."""
    verb = VERBS[words[0]]
    if "--help" not in words:
        verb.of(verb.parse(words[1:]))


@pytest.fixture(autouse=True)
def weights_that_commands_start_from(monkeypatch):
    """Every model that a documented command starts from is there, as wide as the paper's."""
    monkeypatch.setattr(finetune, "vggish_of", lambda start, extractor=None: VGGishConfig())


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_a_verb_has_all_its_parts(name):
    verb = VERBS[name]
    assert re.fullmatch(r"[A-Z].*\.", summary(verb))
    paragraphs = description(verb).split("\n\n")
    assert paragraphs[1].startswith("Needs ")
    assert paragraphs[2].startswith("Leaves ")
    assert all(paragraph.endswith(".") for paragraph in paragraphs)
    (words,) = commands(f"```sh\n{example(verb)}\n```")
    assert words[0] == name
    understand(words)


@pytest.mark.parametrize("name", VERBS)
def test_every_option_has_a_flag_of_its_own_and_a_sentence_of_help(name):
    every = options(VERBS[name])
    flags = [option.flag for option in every]
    assert len({*flags}) == len(flags)
    assert len({option.name for option in every}) == len(every)
    for option in every:
        assert re.match(r"[A-Z0-9][^.]+ .*\.$", option.help), f"{name} {option.flag}"


def test_the_page_of_options_is_what_the_program_makes():
    """``python -m pipelines.cli.reference > docs/options.md`` mends it."""
    assert DOCS["options.md"] == reference.page()


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_and_option_is_on_that_page(name):
    section = reference.page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    of_every_verb = [option.flag for option in options(VERBS[name])][-2:]
    assert of_every_verb == ["--verbose", "--log-format"]
    for option in options(VERBS[name])[:-2]:
        assert f"`{option.flag}" in section, option.flag


def test_options_of_every_verb_stand_once():
    assert list(EveryVerb.__dataclass_fields__) == ["verbose", "log_format"]
    assert reference.page().count("`--verbose`") == 2  # its own row, and exit code 1
    assert reference.page().count("`--log-format ") == 1


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_of_the_documents_is_understood(name):
    for words in commands(TEXTS[name]):
        understand(words)


def test_there_are_commands_in_the_documents():
    assert len(commands(README)) >= 6
    verbs = {words[0] for text in TEXTS.values() for words in commands(text)}
    assert verbs == {*VERBS}


@pytest.mark.parametrize("name", TEXTS)
def test_every_flag_of_the_documents_exists(name):
    known = {option.flag for verb in VERBS.values() for option in options(verb)}
    known |= {"--help", "--version"} | FLAGS_OF_OTHERS
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", TEXTS[name])) <= known


@pytest.mark.parametrize("name", [name for name in TEXTS if "exit code |" in TEXTS[name]])
def test_exit_codes_of_the_documents_are_those_of_the_program(name):
    table = TEXTS[name].partition("exit code |")[2].partition("\n\n")[0]
    cells = re.findall(r"(?m)^\| ([\d, `]+) \|", table)
    codes = [int(code) for cell in cells for code in re.findall(r"\d+", cell)]
    assert codes == [int(code) for code in Exit]


def test_exit_codes_are_where_people_look_for_them():
    assert "exit code |" in DOCS["operations.md"]
    assert "exit code |" in DOCS["options.md"]


@pytest.mark.parametrize("table", schema.tables("float32"))
def test_tables_of_the_documents_have_the_columns_of_the_schema(table):
    assert f"| `{table}` |" in README
    row = re.search(rf"^\| `{table}` \|.*\| (.*) \|$", DOCS["tables.md"], re.MULTILINE)
    assert row is not None
    assert row[1].split(", ") == schema.tables("float32")[table].names


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?m)(?:`|^)make (?:[A-Z]+=\S+ )?([a-z]+)\b", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    """To files of the repository, and pictures."""
    folder = ROOT if name == "README.md" else ROOT / "docs"
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXTS[name])
    assert [link for link in links if not (folder / link).exists()] == []


def test_demo_label_set_is_told():
    assert len(ESC_10) == 10
    assert "ten sounds only" in README


def test_cluster_file_is_valid():
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(cluster))
    pinned = (ROOT / "Makefile").read_text(encoding="utf-8").partition("TORCH ?= ")[2].split()[0]
    assert any(pinned in command for command in cluster["setup_commands"])


def test_paper_map_names_what_exists():
    text = (ROOT / "tagger" / "PAPER.md").read_text(encoding="utf-8")
    for module in set(re.findall(r"`(\w+\.py)`", text)):
        folder = ROOT / "tests" if module.startswith("test_") else ROOT
        found = (path for ring in ("tagger", "pipelines") for path in (folder / ring).rglob(module))
        assert next(found, None), module
    decisions = [int(number) for number in re.findall(r"^\*\*D(\d+) ", text, re.MULTILINE)]
    assert decisions == list(range(1, len(decisions) + 1))
