"""How every benchmark shows and keeps its figures: with machine, versions and commit."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
VERSIONS_OF = (
    "ray",
    "torch",
    "numpy",
    "soxr",
    "soundfile",
    "librosa",
    "torchvggish",
    "onnxruntime",
    "openvino",
)


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as an aligned table."""
    columns = columns_of(rows)
    cells = [columns] + [[text_of(row.get(name, "")) for name in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells]
    sys.stdout.write(f"\n{title}\n\n" + "\n".join(lines) + "\n")


def write(name: str, rows: Sequence[dict[str, Any]], folder: Path = RESULTS, **about: Any) -> Path:
    """Keep rows as ``<name>.json``, with what else there is to say about them."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"at": at, **_machine(), **about, "rows": rows}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def _machine() -> dict[str, Any]:
    commit = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "command": " ".join(["python", "-m", *sys.orig_argv[2:]]),
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip()
        or "unknown",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in VERSIONS_OF},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    return next(
        (
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All columns that any row has, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def text_of(value: object) -> str:
    """A figure as it is shown: three digits that count."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
