"""Specs as JSON has them, and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Spec = TypeVar("_Spec")


def to_plain(spec: "DataclassInstance") -> dict[str, Any]:
    """A dataclass as ``json.loads`` would give it: nested ones are dicts, tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return plain


def from_plain(of: type[_Spec], plain: Mapping[str, Any]) -> _Spec:
    """The dataclass that ``to_plain`` made ``plain`` of.

    Of a union of dataclasses it is the one with the fewest fields that has all those given.
    """
    hints = get_type_hints(of)
    return of(**{name: _value(hints[name], value) for name, value in plain.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    kinds = [
        kind
        for kind in get_args(hint) or (hint,)
        if isinstance(kind, type)
        and is_dataclass(kind)
        and set(value) <= {field.name for field in fields(kind)}
    ]
    return from_plain(min(kinds, key=lambda kind: len(fields(kind))), value)
