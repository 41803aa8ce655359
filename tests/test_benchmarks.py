"""The benchmark for GPUs measures something, on a CPU too; the page shows what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import page, training, two_labels

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


def test_two_sounds_are_of_different_kinds_and_each_clip_comes_as_often() -> None:
    kinds = np.repeat(np.array(["dog", "rain", "saw"], object), 6)
    drawn = np.array(list(two_labels.pairs(kinds, fold=1)))
    assert (kinds[drawn[:, 0]] != kinds[drawn[:, 1]]).all()
    assert np.bincount(drawn.ravel()).tolist() == [two_labels.MIXTURES] * len(kinds)
    assert drawn.tolist() != [list(pair) for pair in two_labels.pairs(kinds, fold=2)]


def test_two_sounds_are_mixed_with_equal_power(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    quiet, loud = 0.01 * rng.normal(size=48_000), 0.2 * rng.normal(size=32_000)
    soundfile.write(tmp_path / "a.wav", quiet, 16_000, "FLOAT")
    soundfile.write(tmp_path / "b.wav", loud, 16_000, "FLOAT")
    one, other = (two_labels.at_unit_power(f"file://{tmp_path}/{n}.wav") for n in "ab")
    mixture = two_labels.at_0_db(one, other)
    factor = 1 / np.abs(one[:32_000] + other).max()
    np.testing.assert_allclose(mixture[:32_000], factor * (one[:32_000] + other), rtol=1e-5)
    np.testing.assert_allclose([np.square(one).mean(), np.square(other).mean()], 1, rtol=1e-5)


def test_a_small_run_of_the_benchmark_for_training(tmp_path: Path) -> None:
    (config,) = training.SMALL.values()
    rows = list(training.fine_tuning(config, batch=4, n_steps=2, n_rounds=1))
    assert [(row["precision"], row["way"]) for row in rows] == [
        (precision, way)
        for precision in ("float32", "bfloat16")
        for way in ("plain loop of torch", "ours")
    ]
    assert all(row["patches/s"] > 0 for row in rows)
    prepared, stages = training.preparing(None, 2, tmp_path)
    assert prepared["clips"] == stages["clips"] == len(list(tmp_path.glob("*.wav"))) == 2
    assert (tmp_path / "work" / "prepared.json").exists()
    assert stages["clips/s"] > 0
