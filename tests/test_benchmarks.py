"""The benchmark for GPUs measures something, on a CPU too; the page shows what was measured."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import page

ROOT = Path(__file__).parent.parent

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from benchmarks.gpu import main
main(["--device", "cpu", "--small", "--out", sys.argv[1]])
"""


def test_a_small_run_of_the_benchmark_for_gpus(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["card"] == "none: this is the CPU"
    assert found["versions"]["torch"]
    rows: dict[str, list[dict[str, float]]] = {}
    for row in found["rows"]:
        rows.setdefault(row["what"], []).append(row)
        assert row["precision"] in ("float32", "bfloat16")
        assert all(row.get(rate, 1.0) > 0 for rate in ("TFLOP/s", "patches/s", "of product"))
    counts = {what: len(measured) for what, measured in rows.items()}
    assert counts == {
        "matrix product": 2,
        "extractor": 4,
        "model": 4,
        "agreement": 2,
        "fine-tuning": 2,
    }
    exact, rounded = rows["agreement"]
    assert exact["largest difference"] < 1e-4, "float32 is float32"
    assert 0 < rounded["largest difference"] < 0.05
    assert exact["same top tag"] == 1.0


def test_the_page_shows_the_figures_that_lie_beside_it() -> None:
    found = page.results()
    assert (page.RESULTS / "README.md").read_text() == page.page(found)
    for content in found.values():
        n_lines = page.page({"embedding": content}).count("\n| ")
        assert n_lines == 2 + len(content["rows"])
