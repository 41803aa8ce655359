"""The work that a listing probably is."""

import pyarrow as pa
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipelines.runtime.work import flop_per_patch
from pipelines.tagging.estimate import estimate
from tagger.card import read_model
from tagger.configs import VGGishConfig
from tagger.schema import LISTING
from tagger.vggish import VGGish


def listing(n, size_bytes):
    rows = [
        {"clip_id": f"{i:032x}", "uri": f"s3://b/{i}.wav", "version": "1", "size_bytes": size_bytes}
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows, schema=LISTING)


@pytest.mark.parametrize(
    "config", [VGGishConfig((2, 3, 4, 5), 8), VGGishConfig((16, 32, 64, 128), 256)]
)
def test_operations_are_those_that_torch_counts(config):
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        VGGish(config)(torch.zeros(1, 96, 64))
    assert flop_per_patch(config) == counter.get_total_flops()


def test_an_hour_of_wav_is_an_hour():
    work = estimate(listing(6, 600 * 176_400), read_model().card)
    assert work.audio_s == pytest.approx(3600)
    assert 10 < work.cpu_s < 60


def test_many_short_clips_cost_more_than_one_long():
    card = read_model().card
    assert (
        estimate(listing(1000, 1764), card).cpu_s > 5 * estimate(listing(1, 1_764_000), card).cpu_s
    )
