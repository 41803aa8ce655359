"""VGGish on one CPU core: torchvggish as it ships beside the ways of running the same weights.

    python -m benchmarks.embedding [--batches 5 32 128] [--repeat N] [--slow] [--write]

Random weights, at the paper's widths and at those of the bundled model. CPU seconds of one thread,
the ways taken in turn, so that other work on the machine changes the ratios little; the least and
the median of the repetitions. "first call" is by the clock, with what is compiled in it; "error" is
the largest difference from the plain network, in spreads of its output. ``--slow`` adds bfloat16
and torch.compile, which takes minutes and a C++ compiler.
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvggish.torchvggish import VGG, make_layers

from benchmarks.reporting import show, write
from tagger.configs import VGGishConfig
from tagger.vggish import VGGish, initialise
from tagger.winograd import FastVGGish

Way = Callable[[Tensor], Tensor]
Clock = Callable[[], float]
WIDTHS = {"paper": VGGishConfig(), "narrow": VGGishConfig((16, 32, 64, 128), 256)}
TORCHVGGISH = "torchvggish"


def quick(plain: VGGish, example: Tensor) -> dict[str, Way]:
    """The ways that need no compiler, in float32."""
    channels_last = _channels_last(plain)
    traced = torch.jit.trace(channels_last, example)  # type: ignore[no-untyped-call]
    ways: dict[str, Way] = {
        "plain, NCHW": plain,
        "channels-last": channels_last,
        "torch.jit, frozen and optimised": torch.jit.optimize_for_inference(
            torch.jit.freeze(traced)
        ),
        "oneDNN layouts": _onednn(plain),
        "FastVGGish (ours)": FastVGGish(plain),
    }
    if plain.config == WIDTHS["paper"]:
        shipped = VGG(make_layers(), postprocess=False).eval()
        shipped.load_state_dict(plain.state_dict(), assign=True)
        ways = {TORCHVGGISH: lambda patches: shipped(patches.unsqueeze(1)), **ways}
    return ways


def slow(plain: VGGish) -> dict[str, Way]:
    """bfloat16, and what torch.compile makes of channels-last."""
    half = _channels_last(plain).bfloat16()
    full_compiled, half_compiled = (
        torch.compile(copy.deepcopy(network), dynamic=False, options={"freezing": True})
        for network in (_channels_last(plain), half)
    )
    return {
        "bfloat16": lambda patches: half(patches.bfloat16()).float(),
        "compiled, frozen": full_compiled,
        "compiled, frozen, bfloat16": lambda patches: half_compiled(patches.bfloat16()).float(),
    }


def _channels_last(plain: VGGish) -> nn.Module:
    network: nn.Module = copy.deepcopy(plain)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _onednn(plain: VGGish) -> Way:
    from torch.utils.mkldnn import to_mkldnn

    network: Any = to_mkldnn(copy.deepcopy(plain))  # type: ignore[no-untyped-call]

    def embed(patches: Tensor) -> Tensor:
        maps = network.features(patches.unsqueeze(1).to_mkldnn()).to_dense()
        flat = maps.permute(0, 2, 3, 1).flatten(1)
        embeddings: Tensor = network.embeddings(flat.to_mkldnn()).to_dense()
        return embeddings

    return embed


@torch.inference_mode()
def measure(widths: str, n: int, repeat: int, with_slow: bool) -> list[dict[str, Any]]:
    """A row per way, for batches of ``n`` patches."""
    torch.manual_seed(0)
    plain = VGGish(WIDTHS[widths]).eval()
    initialise(plain)
    patches = torch.empty(n, 96, 64).uniform_(-4.6, 4.8)
    ways = quick(plain, patches) | (slow(plain) if with_slow else {})
    expected = plain(patches)
    first = {name: _seconds(way, patches, time.perf_counter) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            seconds[name].append(_seconds(way, patches))
    base = min(next(iter(seconds.values())))
    return [
        {
            "widths": widths,
            "batch": n,
            "way": name,
            "ms a patch": 1000 * min(seconds[name]) / n,
            "median": 1000 * statistics.median(seconds[name]) / n,
            "patches/s": n / min(seconds[name]),
            "times the first": base / min(seconds[name]),
            "first call s": first[name],
            "error": ((way(patches) - expected).abs().max() / expected.std()).item(),
        }
        for name, way in ways.items()
    ]


def _seconds(way: Way, patches: Tensor, clock: Clock = time.process_time) -> float:
    start = clock()
    way(patches)
    return clock() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, and keep the figures on request."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.embedding")
    flags.add_argument("--batches", type=int, nargs="+", default=[5, 32, 128])
    flags.add_argument("--widths", nargs="+", choices=list(WIDTHS), default=list(WIDTHS))
    flags.add_argument("--repeat", type=int, default=7)
    flags.add_argument("--slow", action="store_true", help="bfloat16 and torch.compile as well")
    flags.add_argument("--write", action="store_true", help="keep the figures in results/")
    given = flags.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # torch's own, about its jit
    rows = []
    for widths in given.widths:
        for n in given.batches:
            measured = measure(widths, n, given.repeat, given.slow)
            show(f"VGGish, {widths} widths, batches of {n}, one core", measured)
            rows += measured
    if given.write:
        write("embedding-slow" if given.slow else "embedding", rows)


if __name__ == "__main__":
    main()
