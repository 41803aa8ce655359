"""The whole ``tag`` job beside torchvggish's own loop, over the same files on the same cores.

    python -m benchmarks.tag_job [--audio FOLDER] [--repeat N] [--write]

torchvggish's loop is what its README shows: ``wavfile_to_examples`` and the network, one file at a
time. Ours runs twice: with a network of the same size (Table 1, random weights), and with the
bundled model. Each run is a command of its own, timed from its start to its end. ``of stages`` is
its rate as a share of what the CPU time of the stages alone would allow on these cores; ``first
batch s`` is when the first rows lay in the output.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torchvggish import vggish_input
from torchvggish.torchvggish import VGG, make_layers

from benchmarks.reporting import show, write
from pipelines.demo.sounds import SOUNDS
from tagger.attention import MultiLevelAttention
from tagger.card import BUNDLED
from tagger.checkpoint import save
from tagger.labels import ESC_10
from tagger.vggish import VGGish, initialise

PEER_CLIPS = 40  # enough for a rate; the loop is the same for every clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, help="folder of ogg or wav (default: synthesised)")
    parser.add_argument("--repeat", type=int, default=4, help="copies of the folder to tag")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = collect(flags.audio, flags.repeat, Path(folder, "audio"))
        rows = [torchvggish_loop(clips)]
        for name, model in (
            ("same network", same_network(Path(folder, "model"))),
            ("bundled", BUNDLED),
        ):
            rows.append(whole_job(name, Path(folder), model))
    for row in rows:
        row["times torchvggish"] = row["clips/s"] / rows[0]["clips/s"]
    show("whole job", rows)
    if flags.write:
        write("tag_job", rows)


def collect(audio: Path | None, repeat: int, folder: Path) -> list[Path]:
    """``repeat`` copies of every file of ``audio``, or of 80 five-second ogg clips made here."""
    folder.mkdir(parents=True)
    if audio is None:
        audio = folder.parent / "made"
        audio.mkdir()
        for seed in range(8):
            for name, sound in SOUNDS.items():
                samples = sound(5.0, 44_100, np.random.default_rng(seed))
                path = audio / f"{name}-{seed}.ogg"
                soundfile.write(path, 0.5 * samples / np.abs(samples).max(), 44_100)
    found = sorted(path for path in audio.rglob("*") if path.suffix in (".ogg", ".wav"))
    for copy in range(repeat):
        for path in found:
            shutil.copy(path, folder / f"{copy}-{path.name}")
    return sorted(folder.iterdir())


def torchvggish_loop(clips: list[Path]) -> dict[str, Any]:
    """Examples and embeddings, one file at a time, on all cores that torch takes."""
    network = VGG(make_layers(), postprocess=False).eval()
    chosen = clips[:: max(1, len(clips) // PEER_CLIPS)]
    with torch.inference_mode():
        network(vggish_input.wavfile_to_examples(str(chosen[0])))
        start = time.perf_counter()
        for clip in chosen:
            network(vggish_input.wavfile_to_examples(str(clip)))
        spent_s = time.perf_counter() - start
    return {"what": "torchvggish loop", "clips": len(chosen), "clips/s": len(chosen) / spent_s}


def same_network(folder: Path) -> Path:
    """A model of the paper's size with random weights."""
    torch.manual_seed(0)
    extractor = VGGish()
    initialise(extractor)
    save(folder, "paper-size", list(ESC_10), {"a": extractor}, [("a", MultiLevelAttention(10))], {})
    return folder


def whole_job(name: str, folder: Path, model: Path) -> dict[str, Any]:
    """Run ``tag`` as a user does."""
    out = folder / name
    where = [str(folder / "audio"), "--out", str(out), "--model", str(model)]
    first_s = None
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "pipelines", "tag", *where]) as process:
        while process.poll() is None:
            if first_s is None and any((out / "_staging").rglob("*.parquet")):
                first_s = time.perf_counter() - start
            time.sleep(0.02)
    spent_s = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}")
    (path,) = (out / "_runs").glob("*.json")
    record = json.loads(path.read_text())
    n_clips = record["n_tagged"]
    stages_s = sum(record["cpu_seconds"].values()) / len(os.sched_getaffinity(0))
    return {
        "what": f"tag, {name}",
        "clips": n_clips,
        "clips/s": n_clips / spent_s,
        "of stages": stages_s / spent_s,
        "first batch s": first_s,
        **{f"{what} CPU ms/clip": 1e3 * s / n_clips for what, s in record["cpu_seconds"].items()},
    }


if __name__ == "__main__":
    main()
