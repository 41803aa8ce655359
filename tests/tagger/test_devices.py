"""Which arithmetic a device computes in."""

from pathlib import Path

from tagger.devices import bfloat16_pays, pick_precision


def test_cpus_compute_in_float32_unless_asked_and_able():
    """So embeddings of an archive do not depend on which of them made them."""
    assert pick_precision("cpu") == pick_precision("cpu", "float32") == "float32"
    flags = {*Path("/proc/cpuinfo").read_text().split()}
    able = bool({"avx512_bf16", "amx_bf16"} & flags)
    assert pick_precision("cpu", "bfloat16") in ({"float32", "bfloat16"} if able else {"float32"})
    assert able or not bfloat16_pays()
