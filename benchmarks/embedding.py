"""VGGish on a CPU: this package's code beside other engines that run the same weights.

    python -m benchmarks.embedding [--batches 1 5 128] [--threads N] [--compiled] [--write]

Random weights, at the paper's widths and at those of the bundled model. The ways are taken in turn,
so that other work on the machine changes the ratios little; the least and the median of the rounds.
With one thread it is CPU time, with more it is the clock. "first call s" is by the clock, with what
is compiled in it; "error" is the largest difference from the plain network, in spreads of its
output. bfloat16 is measured where the processor computes in it; ``--compiled`` adds torch.compile,
which takes minutes and a C++ compiler. The other engines come with ``pip install '.[bench]'``.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reporting import show, write
from tagger.configs import VGGishConfig
from tagger.vggish import VGGish, initialise
from tagger.winograd import FastVGGish

Way = Callable[[Tensor], Tensor]
WIDTHS = {"paper": VGGishConfig(), "narrow": VGGishConfig((16, 32, 64, 128), 256)}
PEERS = ("torchvggish", "onnx", "onnxruntime", "openvino")
LEAST_ROUNDS = 3


def ways(plain: VGGish, n_threads: int, compiled: bool) -> Iterator[tuple[str, Way]]:
    """Each way of running a network, with its name."""
    with_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    yield "torch", plain
    if find_spec("torchvggish") and plain.config == WIDTHS["paper"]:
        yield "torchvggish", _torchvggish(plain)
    channels_last = _channels_last(plain)
    half = copy.deepcopy(channels_last).bfloat16()
    yield "torch, channels-last", channels_last
    yield "torch.jit, frozen", _frozen(plain)
    if find_spec("onnx") and find_spec("onnxruntime"):
        yield "onnxruntime", _onnxruntime(plain, n_threads)
    if find_spec("onnx") and find_spec("openvino"):
        yield "OpenVINO", _openvino(plain, n_threads, "f32")
    yield "ours", FastVGGish(plain)
    if with_bfloat16:
        yield "torch, channels-last, bfloat16", lambda x: half(x.bfloat16()).float()
        if find_spec("onnx") and find_spec("openvino"):
            yield "OpenVINO, bfloat16", _openvino(plain, n_threads, "bf16")
        fast = FastVGGish(plain, torch.bfloat16)
        yield "ours, bfloat16", lambda x: fast(x).float()
    if compiled:
        yield "torch.compile, frozen", _compiled(channels_last)
        if with_bfloat16:
            fused = _compiled(half)
            yield "torch.compile, frozen, bfloat16", lambda x: fused(x.bfloat16()).float()


def _torchvggish(plain: VGGish) -> Way:
    from torchvggish.torchvggish import VGG, make_layers

    shipped = VGG(make_layers(), postprocess=False).eval()
    shipped.load_state_dict(plain.state_dict(), assign=True)
    return lambda patches: shipped(patches.unsqueeze(1))


def _channels_last(plain: VGGish) -> nn.Module:
    network: nn.Module = copy.deepcopy(plain)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _frozen(plain: VGGish) -> Way:
    traced = torch.jit.trace(_channels_last(plain), torch.zeros(5, 96, 64))  # type: ignore[no-untyped-call]
    way: Way = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    return way


def _compiled(network: nn.Module) -> Way:
    way: Way = torch.compile(copy.deepcopy(network), dynamic=False, options={"freezing": True})
    return way


def _exported(plain: VGGish, folder: str) -> str:
    path = str(Path(folder, "vggish.onnx"))
    torch.onnx.export(
        plain,
        (torch.zeros(2, 96, 64),),
        path,
        input_names=["patches"],
        output_names=["embeddings"],
        dynamic_axes={"patches": {0: "n"}, "embeddings": {0: "n"}},
        dynamo=False,
    )
    return path


def _onnxruntime(plain: VGGish, n_threads: int) -> Way:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(_exported(plain, folder), options)
    return lambda patches: torch.from_numpy(session.run(None, {"patches": patches.numpy()})[0])


def _openvino(plain: VGGish, n_threads: int, precision: str) -> Way:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        model = openvino.Core().read_model(_exported(plain, folder))
    settings = {
        "INFERENCE_NUM_THREADS": n_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda patches: torch.from_numpy(request.infer([patches.numpy()])[0].copy())


@torch.inference_mode()
def measure(
    plain: VGGish, found: dict[str, Way], n: int, seconds: float, n_threads: int
) -> list[dict[str, Any]]:
    """A row per way, for batches of ``n`` patches."""
    patches = torch.empty(n, 96, 64).uniform_(-4.6, 4.8)
    expected = plain(patches)
    clock = time.process_time if n_threads == 1 else time.perf_counter
    first = {name: _seconds(way, patches, time.perf_counter) for name, way in found.items()}
    times: dict[str, list[float]] = {name: [] for name in found}
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times["ours"]) < LEAST_ROUNDS:
        for name, way in found.items():
            times[name].append(_seconds(way, patches, clock))
    base = min(times.get("torchvggish") or times["torch"])
    return [
        {
            "batch": n,
            "way": name,
            "patches/s": n / min(times[name]),
            "median": n / statistics.median(times[name]),
            "times torch": base / min(times[name]),
            "first call s": first[name],
            "error": ((way(patches) - expected).abs().max() / expected.std()).item(),
        }
        for name, way in found.items()
    ]


def _seconds(way: Way, patches: Tensor, clock: Callable[[], float]) -> float:
    start = clock()
    way(patches)
    return clock() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, and keep the figures on request."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.embedding")
    flags.add_argument("--batches", type=int, nargs="+", default=[1, 2, 5, 10, 32, 128])
    flags.add_argument("--widths", nargs="+", choices=list(WIDTHS), default=list(WIDTHS))
    flags.add_argument("--seconds", type=float, default=8.0, help="for each batch size")
    flags.add_argument("--threads", type=int, default=1)
    flags.add_argument("--compiled", action="store_true", help="torch.compile as well")
    flags.add_argument("--write", action="store_true", help="keep the figures in results/")
    given = flags.parse_args(arguments)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # torch's own, about its jit and its export
    missing = [name for name in PEERS if not find_spec(name)]
    sys.stdout.write(f"not installed: {', '.join(missing) or 'none of the peers'}\n")
    rows = []
    for widths in given.widths:
        torch.manual_seed(0)
        plain = VGGish(WIDTHS[widths]).eval()
        initialise(plain)
        found = dict(ways(plain, given.threads, given.compiled))
        for n in given.batches:
            measured = measure(plain, found, n, given.seconds, given.threads)
            measured = [{"widths": widths, "threads": given.threads, **row} for row in measured]
            show(f"VGGish, {widths} widths, batches of {n}, {given.threads} threads", measured)
            rows += measured
    if given.write:
        write("embedding" if given.threads == 1 else f"embedding_{given.threads}_threads", rows)


if __name__ == "__main__":
    main()
