"""Versions of what results depend on, for records of runs and cards of models."""

import platform
from importlib.metadata import version
from typing import Final

_PACKAGES: Final = ("ray", "torch", "numpy", "pyarrow", "scipy", "soundfile", "soxr", "av")


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
