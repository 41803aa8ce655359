"""Imports point inward only: ray -> torch -> numpy (design section 2). Real imports, new processes.

CPU workers, listings and ``--help`` must not pay for torch or ray, so that the numpy ring and what
such commands import load neither.
"""

import pkgutil
import subprocess
import sys

import pytest

import tagger

TORCH_RING = {
    "attention",
    "baselines",
    "checkpoint",
    "convert",
    "prediction",
    "tagging",
    "training",
    "vggish",
    "winograd",
}
NUMPY_RING = {module.name for module in pkgutil.iter_modules(tagger.__path__)} - TORCH_RING
WITHOUT_TORCH_AND_RAY = {
    "__main__",
    "isolation_child",
    "listing",
    "reading",
    "rows",
    "stages",
    "status",
    "store",
}

IMPORT_IN_TURN = """
import importlib, sys
forbidden, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
    if found := {*forbidden.split()} & {*sys.modules}:
        sys.exit(f"{module} imports {', '.join(sorted(found))}")
"""


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "modules", "forbidden"),
    [
        ("tagger", NUMPY_RING, "torch ray librosa pipelines"),
        ("tagger", TORCH_RING, "ray pipelines"),
        ("pipelines", WITHOUT_TORCH_AND_RAY, "torch ray librosa"),
    ],
    ids=["numpy ring", "torch ring", "pipelines"],
)
def test_what_a_ring_imports(package, modules, forbidden):
    names = [f"{package}.{module}" for module in sorted(modules)]
    run("-c", IMPORT_IN_TURN, forbidden, *names)


@pytest.mark.parametrize("flags", [["--help"], ["tag", "--help"]])
def test_help_loads_neither_torch_nor_ray(flags):
    code = f"""
import runpy, sys
sys.argv[1:] = {flags}
try:
    runpy.run_module("pipelines", run_name="__main__")
finally:
    assert not {{"torch", "ray"}} & {{*sys.modules}}, "loaded"
"""
    run("-c", code)
