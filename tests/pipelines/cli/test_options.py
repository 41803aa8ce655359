"""Options are read from the fields of dataclasses."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from pipelines.cli.options import build, options_of
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Size:
    n_layers: int = 2
    """Layers."""

    wait_s: float = 1.5
    """Time
    to wait."""

    memory_mb: int = 64
    """Memory."""

    def __post_init__(self):
        if self.n_layers < 1:
            raise OptionError("n_layers", "must be greater than 0")


@dataclass(frozen=True, kw_only=True)
class Base:
    place: str
    """Where."""


@dataclass(frozen=True, kw_only=True)
class Job(Base):
    names: tuple[str, ...] = field(metadata={"positional": True, "metavar": "NAME"})
    """Who."""

    kind: Literal["a", "b"] = "a"
    """Which."""

    widths: tuple[int, int] = (3, 4)
    """How wide."""

    loud: bool = False
    """Whether to say it."""

    safe: bool = True
    """Whether to check."""

    most: int | None = None
    """At most."""

    size: Size = field(default_factory=lambda: Size(n_layers=5))
    """Size of it. More of it."""

    other: Size | None = None
    extra: Base = field(default_factory=lambda: Base(place="x"), metadata={"only": ()})


def option(name, defaults=None):
    (found,) = [option for option in options_of(Job, defaults) if option.name == name]
    return found


@pytest.mark.parametrize(
    ("name", "flag", "values", "takes", "default"),
    [
        ("place", "--place", "PLACE", "a value", ""),
        ("names", "NAME", "NAME [NAME ...]", "values, one or more", ""),
        ("kind", "--kind", "{a,b}", "one of a, b", "a"),
        ("widths", "--widths", "N N", "2 whole numbers", "3 4"),
        ("most", "--most", "N", "a whole number", ""),
        ("n_layers", "--layers", "N", "a whole number", "5"),
        ("wait_s", "--wait", "SECONDS", "a number", "1.5"),
        ("memory_mb", "--memory-mb", "MIB", "a whole number", "64"),
    ],
)
def test_flag_and_value_follow_from_name_and_type(name, flag, values, takes, default):
    found = option(name)
    assert (found.flag, found.values, found.takes) == (flag, values, takes)
    assert found.default_text == default


def test_a_truth_is_a_switch_away_from_its_default():
    assert (option("loud").flag, option("safe").flag) == ("--loud", "--no-safe")
    assert option("loud").values == option("safe").values == ""


def test_what_is_required_comes_first_and_what_has_a_place_before_it():
    found = options_of(Job)
    assert [option.name for option in found[:3]] == ["names", "place", "kind"]
    assert [option.required for option in found[:3]] == [True, True, False]


def test_the_docstring_under_a_field_is_its_help_also_of_an_inherited_one():
    assert option("place").help == "Where."
    assert option("wait_s").help == "Time to wait."


def test_a_dataclass_within_is_a_group_unless_it_is_absent_or_hidden():
    assert option("wait_s").group == "Size of it. More of it."
    assert option("kind").group == ""
    assert [option.name for option in options_of(Job)].count("n_layers") == 1
    assert [option.name for option in options_of(Job)].count("place") == 1


def test_defaults_can_stand_in():
    assert option("n_layers", {"size": Size(n_layers=9)}).default_text == "9"
    assert option("kind", {"kind": "b"}).default_text == "b"


def test_a_job_is_built_of_what_was_given():
    given = {"place": "here", "names": ("n",), "wait_s": 3.0, "safe": False}
    job = build(Job, given, {})
    expected = Job(place="here", names=("n",), safe=False, size=Size(n_layers=5, wait_s=3.0))
    assert job == expected
    other = build(Job, given, {"size": Size(n_layers=1, memory_mb=1), "most": 7})
    assert (other.size, other.most) == (Size(n_layers=1, wait_s=3.0, memory_mb=1), 7)


def test_what_is_missing_or_refused_is_named():
    with pytest.raises(OptionError, match="place is required"):
        build(Job, {"names": ("n",)}, {})
    with pytest.raises(OptionError, match="n_layers must be"):
        build(Job, {"names": ("n",), "place": "x", "n_layers": 0}, {})
