"""Imports point one way: who may import whom, and who may import ray and torch.

Arrows between packages are read from the source, imports inside functions included. That a package
loads neither torch nor ray is seen in a new process, since listings, workers that decode, and
``--help`` must not pay for them.
"""

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tagger

ROOT = Path(__file__).parent.parent

FLOORS = (
    {"storage"},
    {"inputs", "output", "runtime"},
    {"tagging", "training", "assets", "housekeeping", "exporting", "reporting"},
    {"paper", "demo", "searching", "retagging"},
    {"cli"},
)
"""The packages of ``pipelines`` from the ground up; each may import those on the floors below."""

RAY = {
    "pipelines.runtime.authentication",
    "pipelines.runtime.cluster",
    "pipelines.runtime.growth",
    "pipelines.runtime.metrics",
    "pipelines.runtime.ray_errors",
    "pipelines.runtime.session",
    "pipelines.runtime.submission",
    "pipelines.runtime.worker_logs",
    "pipelines.searching.on_ray",
    "pipelines.tagging.operators",
    "pipelines.tagging.ray_board",
    "pipelines.tagging.ray_publisher",
    "pipelines.training.embed",
    "pipelines.training.prepare",
    "pipelines.training.ray_train",
}
"""The modules that may import ray, at the top or inside a function."""

WITHOUT_TORCH = (
    "storage",
    "inputs",
    "output",
    "runtime",
    "housekeeping",
    "exporting",
    "searching",
    "reporting",
    "cli",
)

STEPS = ("prepare", "finetune", "embed", "fit", "evaluate")
"""The steps of the training; none imports another."""

TORCH_RING = {
    "attention",
    "buffers",
    "baselines",
    "checkpoint",
    "convert",
    "dense",
    "devices",
    "feed",
    "optimisation",
    "prediction",
    "tagging",
    "teachers",
    "training",
    "vggish",
    "winograd",
}
NUMPY_RING = {module.name for module in pkgutil.iter_modules(tagger.__path__)} - TORCH_RING

IMPORT_IN_TURN = """
import importlib, sys
forbidden, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
    if found := {*forbidden.split()} & {*sys.modules}:
        sys.exit(f"{module} imports {', '.join(sorted(found))}")
"""


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by name, those of packages within it too."""
    files = Path(ROOT, *package.split(".")).rglob("*.py")
    found = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_package_has_a_floor_and_says_what_it_is():
    packages = {path.parent.name for path in Path(ROOT, "pipelines").glob("*/__init__.py")}
    assert packages == set().union(*FLOORS)
    for package in (*packages, "training/workfolder"):
        text = Path(ROOT, "pipelines", package, "__init__.py").read_text(encoding="utf-8")
        assert len((ast.get_docstring(ast.parse(text)) or "").splitlines()) >= 3, package


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_arrows_between_packages_point_down(floor):
    below = set().union(*FLOORS[:floor])
    for package in FLOORS[floor]:
        for module, file in modules(f"pipelines.{package}").items():
            for name in imported(file):
                if of(name, "pipelines"):
                    target = name.split(".")[1]
                    assert target == package or target in below, f"{module} imports {name}"


def test_the_library_knows_no_pipeline():
    for module, file in modules("tagger").items():
        for name in imported(file):
            assert not of(name, "pipelines") and not of(name, "ray"), f"{module} imports {name}"


def test_who_imports_ray():
    found = {
        module
        for module, file in modules("pipelines").items()
        if any(of(name, "ray") for name in imported(file))
    }
    assert found == RAY


def test_steps_of_the_training_import_none_of_each_other():
    for step in STEPS:
        names = set(imported(ROOT / "pipelines" / "training" / f"{step}.py"))
        others = {f"pipelines.training.{other}" for other in STEPS if other != step}
        assert not any(of(name, other) for name in names for other in others), step


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        ([f"tagger.{name}" for name in NUMPY_RING], "torch ray librosa pipelines"),
        ([f"tagger.{name}" for name in TORCH_RING], "ray librosa pipelines"),
        *(([*modules(f"pipelines.{name}")], "torch ray librosa") for name in WITHOUT_TORCH),
        (["pipelines.tagging.stages", "pipelines.tagging.run"], "torch ray librosa"),
        (["pipelines.training.jobs", "pipelines.paper.recipes"], "torch ray librosa"),
        (["pipelines.runtime.isolation_child", "pipelines.tagging.decoding"], "pyarrow pandas"),
    ],
    ids=["numpy ring", "torch ring", *WITHOUT_TORCH, "tagging", "jobs", "decoding"],
)
def test_what_is_loaded(names, forbidden):
    run("-c", IMPORT_IN_TURN, forbidden, *sorted(names))


@pytest.mark.parametrize("flags", [["--help"], ["tag", "--help"], ["finetune", "--help"]])
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
