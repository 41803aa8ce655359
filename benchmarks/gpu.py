"""What a GPU makes of the networks; needs torch and this repository, but no Ray.

    python -m benchmarks.gpu [--device cuda] [--audio FOLDER] [--out FOLDER] [--small]

- ``matrix product``: the rate of one large product, in TFLOP/s; what the others are shares of.
- ``extractor``: VGGish on patches that lie on the device, at the paper's widths and at those of the
  bundled model, in batches of several sizes.
- ``model``: a whole model, from patches in the machine's memory to tags; the bundled one, and one
  at the paper's widths with random weights.
- ``agreement``: tags of clips by the bundled model in the device's arithmetic, beside float32 on
  the CPU; its own clips, or those of ``--audio``.
- ``fine-tuning``: steps of training at the paper's widths.

MiB is what torch took of the device at most. Writes ``gpu.json`` with card, versions and commit,
into ``benchmarks/results`` if ``--out`` says nothing else. Less than eight minutes on one GPU;
``--small`` is for tests and takes seconds on a CPU.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.reporting import RESULTS, show, write
from pipelines.demo.sounds import SOUNDS
from pipelines.runtime.work import flop_per_patch
from tagger.arrays import FloatArray
from tagger.attention import MultiLevelAttention
from tagger.card import BUNDLED, read_model
from tagger.checkpoint import save
from tagger.configs import Precision, TrainingConfig, VGGishConfig
from tagger.devices import for_inference
from tagger.examples import Takes
from tagger.labels import ESC_10
from tagger.tagging import Tagger
from tagger.training import Trainer
from tagger.vggish import VGGish, VGGishClassifier, initialise

NARROW = VGGishConfig((16, 32, 64, 128), 256)
N_CLASSES = 41  # of FSDKaggle2018
CLIP_PATCHES = 60  # a minute
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    product: int
    widths: dict[str, VGGishConfig]
    batches: tuple[int, ...]
    measure_s: float
    n_clips: int
    train_batch: int
    train_steps: int


FULL = Size(
    product=8192,
    widths={"paper": VGGishConfig(), "narrow": NARROW},
    batches=(32, 128, 512, 2048),
    measure_s=2.0,
    n_clips=200,
    train_batch=128,
    train_steps=40,
)
SMALL = Size(
    product=256,
    widths={"narrow": NARROW},
    batches=(2, 8),
    measure_s=0.05,
    n_clips=len(SOUNDS),
    train_batch=4,
    train_steps=2,
)


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    flags.add_argument("--device", default="cuda", help="as torch names it (default: cuda)")
    flags.add_argument("--audio", type=Path, help="folder of clips (default: synthesised ones)")
    flags.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu.json")
    flags.add_argument("--small", action="store_true", help="seconds, on any machine")
    given = flags.parse_args(arguments)
    device, size = torch.device(given.device), SMALL if given.small else FULL
    rates = product_rates(device, size)
    rows = [{"what": "matrix product", "precision": p, "TFLOP/s": r} for p, r in rates.items()]
    show("matrix product", rows)
    with tempfile.TemporaryDirectory() as folder:
        for title, measured in (
            ("extractor", extractors(device, size, rates)),
            ("model", models(device, size, Path(folder))),
            ("agreement", agreement(device, clips(given.audio, size.n_clips, Path(folder)))),
            ("fine-tuning", fine_tuning(device, size)),
        ):
            found = [{"what": title} | row for row in measured]
            show(title, found)
            rows += found
    given.out.mkdir(parents=True, exist_ok=True)
    write("gpu", rows, given.out, **card(device))


def card(device: torch.device) -> dict[str, Any]:
    """The device, and what torch drives it with."""
    if device.type != "cuda":
        return {"card": "none: this is the CPU", "threads": torch.get_num_threads()}
    about = torch.cuda.get_device_properties(device)
    return {
        "card": about.name,
        "memory MiB": about.total_memory >> 20,
        "compute capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def per_second(work: Callable[[], Any], device: torch.device, measure_s: float) -> float:
    """How often a second ``work`` is done: the median of five measurements, after a first call."""

    def seconds(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds(1)
    n = max(1, round(measure_s / 5 / seconds(1)))
    return n / statistics.median(seconds(n) for _ in range(5))


def peak_mib(device: torch.device) -> float | None:
    """Of torch's memory on a GPU since the last call."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def product_rates(device: torch.device, size: Size) -> dict[str, float]:
    """TFLOP/s by precision; float32 as cudnn's convolutions have it, TF32 where there is such."""
    rates: dict[str, float] = {}
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    for precision in PRECISIONS:
        dtype = getattr(torch, precision)
        one, other = torch.randn(2, size.product, size.product, device=device).to(dtype)
        products = per_second(partial(torch.matmul, one, other), device, size.measure_s)
        rates[precision] = 2 * size.product**3 * products / 1e12
    torch.set_float32_matmul_precision(before)
    return rates


@torch.inference_mode()
def extractors(
    device: torch.device, size: Size, rates: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """A row for each of widths, precision and batch."""
    for widths, config in size.widths.items():
        for precision in PRECISIONS:
            dtype = getattr(torch, precision)
            network = VGGish(config).eval()
            initialise(network)
            embed = for_inference(network, device, dtype)
            for n in size.batches:
                patches = torch.randn(n, 96, 64, device=device).to(dtype)
                rate = n * per_second(partial(embed, patches), device, size.measure_s)
                yield {
                    "widths": widths,
                    "precision": precision,
                    "batch": n,
                    "patches/s": rate,
                    "of product": rate * flop_per_patch(config) / 1e12 / rates[precision],
                    "MiB": peak_mib(device),
                }


def models(device: torch.device, size: Size, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each of model, precision and batch; patches come from the machine's memory."""
    found = {"bundled": BUNDLED}
    if "paper" in size.widths:
        found["paper's widths"] = folder / "paper"
        extractor = VGGish()
        initialise(extractor)
        head = MultiLevelAttention(len(ESC_10))
        save(found["paper's widths"], "paper", list(ESC_10), {"a": extractor}, [("a", head)], {})
    rng = np.random.default_rng(0)
    for name, model in found.items():
        for precision in PRECISIONS:
            for n in size.batches:
                tagger = Tagger(read_model(model), str(device), precision, n)
                patches = rng.standard_normal((max(n, CLIP_PATCHES), 96, 64), np.float32)
                tag = partial(embed_and_predict, tagger, patches)
                yield {
                    "model": name,
                    "precision": precision,
                    "batch": n,
                    "patches/s": len(patches) * per_second(tag, device, size.measure_s),
                    "MiB": peak_mib(device),
                }


def embed_and_predict(tagger: Tagger, patches: FloatArray) -> None:
    """What tagging costs of clips of a minute."""
    embeddings = tagger.embed(patches)
    parts = range(0, len(patches), CLIP_PATCHES)
    tagger.predict([embeddings[:, start : start + CLIP_PATCHES] for start in parts])


def clips(audio: Path | None, n_clips: int, folder: Path) -> list[Path]:
    """The first of a folder, or synthesised ones of five seconds."""
    if audio is not None:
        found = sorted(path for path in audio.rglob("*") if path.suffix in AUDIO_SUFFIXES)
        return found[:n_clips]
    paths = []
    for i in range(n_clips):
        name = list(SOUNDS)[i % len(SOUNDS)]
        samples = SOUNDS[name](5.0, 44_100, np.random.default_rng(i))
        paths.append(folder / f"{i:03d}.wav")
        soundfile.write(paths[-1], 0.5 * samples / np.abs(samples).max(), 44_100)
    return paths


def agreement(device: torch.device, paths: list[Path]) -> Iterator[dict[str, Any]]:
    """A row for each precision: its scores of real clips beside those of float32 on the CPU."""
    expected = scores(Tagger.load(), paths)
    for precision in PRECISIONS:
        found = scores(Tagger.load(BUNDLED, str(device), precision), paths)
        yield {
            "precision": precision,
            "clips": len(paths),
            "same top tag": float(np.mean(found.argmax(1) == expected.argmax(1))),
            "largest difference": float(np.abs(found - expected).max()),
        }


def scores(tagger: Tagger, paths: list[Path]) -> FloatArray:
    """(n_clips, n_labels)."""
    return np.stack([tagger.tag(path).prediction.scores for path in paths])


def fine_tuning(device: torch.device, size: Size) -> Iterator[dict[str, Any]]:
    """A row for each precision: an epoch of the trainer, after one to begin with."""
    n = size.train_batch * size.train_steps
    rng = np.random.default_rng(0)
    values = rng.standard_normal((n, 96, 64), np.float32)
    takes = Takes(values, np.arange(n + 1), rng.integers(0, N_CLASSES, n), N_CLASSES)
    for precision in PRECISIONS:
        network = VGGishClassifier(VGGish(next(iter(size.widths.values()))), N_CLASSES)
        initialise(network)
        config = TrainingConfig(
            epochs=2,
            patience=None,
            batch_size=size.train_batch,
            learning_rate=1e-5,
            bfloat16=precision == "bfloat16",
        )
        trainer = Trainer(network, takes.single(), None, config, device=str(device))
        trainer.epoch()
        epoch = trainer.epoch()
        yield {
            "widths": next(iter(size.widths)),
            "precision": precision,
            "batch": size.train_batch,
            "patches/s": epoch.n_examples / epoch.seconds,
            "MiB": peak_mib(device),
        }


if __name__ == "__main__":
    main()
