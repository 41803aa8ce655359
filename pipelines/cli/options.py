"""The options of a command, read from dataclasses: an option is a field, and stands there once.

Its flag follows from the field's name, without the ``n_`` of counts and the ``_s`` of seconds:
``clip_timeout_s`` is ``--clip-timeout SECONDS``. It has no underscore at its end, as the field has
whose name Python keeps for itself: ``not_`` is ``--not``. A truth that is true by default has the
flag ``--no-NAME``. Type, default and help, which is the docstring under the field, stand with it,
and its class refuses bad values with an ``OptionError``. A field that is a dataclass itself brings
the options of its fields; if it has a docstring, they are a group of that title in the help.

What else there is to say of an option is in the field's ``metadata``:

    metavar     what stands for the value in the help
    positional  True: told by its place, without a flag
    default     the default in words, where the value itself tells a reader nothing
    bare        the value of a flag that is given without one; one of several choices is given
                behind an equals sign: --verify=counts
    parse       makes the value from a text; of a tuple, each of its items
    only        of a dataclass: names of those of its fields that are options here
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from tagger.errors import OptionError

UNITS: Final = {"s": "SECONDS", "mb": "MIB", "hours": "HOURS"}
"""Last words of names, and what stands for a value in that unit."""

_UNIONS: Final = (Union, UnionType)
_VALUES: Final = {int: ("N", "a whole number"), float: ("X", "a number"), str: ("", "a value")}


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes
    ----------
    name : of the field
    type : of a value; int, float, str, bool, Literal, tuple, or a number or Literal
    default : ``MISSING`` where the option is required
    help : one paragraph
    group : the docstring of the dataclass field that brings it; "" without one
    """

    name: str
    type: Any
    default: Any
    help: str
    group: str
    metadata: Mapping[str, Any]

    @property
    def positional(self) -> bool:
        return bool(self.metadata.get("positional"))

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def is_switch(self) -> bool:
        """Whether it is a truth, whose flag takes no value."""
        return self.type is bool

    @property
    def flag(self) -> str:
        """How it is called on a command line: its flag, or what stands for it in its place."""
        if self.positional:
            return self.metavar
        words = self.name.removeprefix("n_").removesuffix("_s").rstrip("_").replace("_", "-")
        return f"--no-{words}" if self.default is True else f"--{words}"

    @property
    def metavar(self) -> str:
        """What stands for one value."""
        if "metavar" in self.metadata:
            return str(self.metadata["metavar"])
        last = self.name.rpartition("_")[2]
        if self.choices:
            return f"{{{','.join(self.choices)}}}"
        value = UNITS.get(last) or _VALUES[self._item][0] or last.upper()
        return f"{{{','.join((value, *self.words))}}}" if self.words else value

    @property
    def values(self) -> str:
        """What stands for all its values: nothing for a truth, ``N N N N`` for four numbers."""
        if self.is_switch:
            return ""
        if "bare" in self.metadata:
            return f"[={self.metavar}]" if self.choices else f"[{self.metavar}]"
        if not self.is_tuple:
            return self.metavar
        n = self.n_values
        return " ".join([self.metavar] * n) if n else f"{self.metavar} [{self.metavar} ...]"

    @property
    def takes(self) -> str:
        """What its value must be, as the end of a sentence."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        one = _VALUES[self._item][1]
        if not self.is_tuple:
            return " or ".join([one, *self.words])
        many = f"{one.partition(' ')[2]}s"
        return f"{self.n_values} {many}" if self.n_values else f"{many}, one or more"

    @property
    def default_text(self) -> str:
        """The default for a reader; "" where there is none, or none worth telling."""
        if "default" in self.metadata:
            return str(self.metadata["default"])
        if self.is_switch:
            return "yes" if self.default else ""
        if self.required or self.default in (None, ()):
            return ""
        values = self.default if self.is_tuple else (self.default,)
        return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)

    @property
    def is_tuple(self) -> bool:
        return get_origin(self.type) is tuple

    @property
    def n_values(self) -> int | None:
        """Values of a tuple of fixed length; None: one or more."""
        of = get_args(self.type)
        return None if Ellipsis in of else len(of)

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def words(self) -> tuple[str, ...]:
        """What it takes beside a number."""
        if get_origin(self.type) not in _UNIONS:
            return ()
        return tuple(word for kind in get_args(self.type) for word in get_args(kind))

    @property
    def _item(self) -> Any:
        """Type of one value, as it is typed; of a number or words that of the number."""
        if "parse" in self.metadata:
            return str
        return get_args(self.type)[0] if self.is_tuple or self.words else self.type


def options_of(cls: type, defaults: Mapping[str, Any] | None = None) -> list[Option]:
    """The options of a command: positional ones first, then required ones.

    Parameters
    ----------
    defaults : values by name of field that stand in for the field's own default
    """
    found = _options(cls, MISSING, defaults or {}, "")
    return sorted(found, key=lambda option: (not option.positional, not option.required))


def build(cls: type, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """The dataclass from the options that were given, by name of field.

    Raises
    ------
    OptionError : one that is required is not there, or a dataclass refuses a value
    """
    return _build(cls, MISSING, given, defaults)


@dataclass(frozen=True)
class _Part:
    """A field: an option, or, where ``nested`` is its type, a dataclass that brings its own."""

    name: str
    type: Any
    default: Any
    help: str
    nested: type | None
    metadata: Mapping[str, Any]


def _options(
    cls: type, instance: object, defaults: Mapping[str, Any], group: str
) -> Iterator[Option]:
    for part in _parts(cls, instance, defaults):
        if part.nested is None:
            yield Option(part.name, part.type, part.default, part.help, group, part.metadata)
            continue
        only = part.metadata.get("only")
        for option in _options(part.nested, part.default, defaults, part.help or group):
            if only is None or option.name in only:
                yield option


def _build(cls: type, instance: Any, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    values = {}
    for part in _parts(cls, instance, defaults):
        if part.nested is None:
            values[part.name] = given.get(part.name, part.default)
        else:
            only = part.metadata.get("only", given)
            inner = {name: value for name, value in given.items() if name in only}
            values[part.name] = _build(part.nested, part.default, inner, defaults)
    for name, value in values.items():
        if value is MISSING:
            raise OptionError(name, "is required")
    return cls(**values) if instance is MISSING else replace(instance, **values)


def _parts(cls: type, instance: object, defaults: Mapping[str, Any]) -> Iterator[_Part]:
    """The fields of a dataclass, with the values of ``instance`` as defaults if there is one."""
    hints, helps = get_type_hints(cls), _helps(cls)
    for field in fields(cls):
        hint = _without_none(hints[field.name])
        default = _default(field) if instance is MISSING else getattr(instance, field.name)
        default = defaults.get(field.name, default)
        nested = None
        if is_dataclass(hint) or is_dataclass(default):
            if default is None:
                continue
            nested = hint if default is MISSING else type(default)
        text = helps.get(field.name, "")
        yield _Part(field.name, hint, default, text, nested, field.metadata)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _without_none(hint: Any) -> Any:
    """``T`` of ``T | None``."""
    if get_origin(hint) not in _UNIONS:
        return hint
    return Union[tuple(kind for kind in get_args(hint) if kind is not NoneType)]  # noqa: UP007


@cache
def _helps(cls: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and of those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if is_dataclass(base)]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for field, text in pairwise(node.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(help_))),
                ):
                    found[name] = " ".join(help_.split())
    return found
