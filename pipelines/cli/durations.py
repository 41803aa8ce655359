"""Lengths of time as people type them: 90m, 26h, 2d, 1d12h."""

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PART: Final = r"([0-9]+(?:\.[0-9]+)?)([smhd])"


def parse_duration(text: str) -> timedelta:
    """The length of time that a text names; ValueError where it names none, or nothing at all."""
    parts = re.findall(_PART, text)
    if not re.fullmatch(f"(?:{_PART})+", text):
        raise ValueError(f"{text!r} is no length of time")
    total = sum((timedelta(**{_UNITS[unit]: float(n)}) for n, unit in parts), timedelta())
    if not total:
        raise ValueError(f"{text!r} is no time at all")
    return total
