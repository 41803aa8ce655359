"""The LSTM against a plain loop, and the numbers of the DCASE baseline.

The challenge describes the baseline as one of 658.1 thousand weights.
"""

import numpy as np
import torch

from tagger.baselines import CNN_FRAMES, CNN_HOP, BaselineCNN, LSTMHead
from tagger.configs import LSTMConfig


def _plain_lstm(weights: dict[str, np.ndarray], clip: np.ndarray) -> np.ndarray:
    """Logits of one clip (n_segments, 128), gate by gate."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    n = weights["lstm.weight_hh_l0"].shape[1]
    state, cell = np.zeros(n), np.zeros(n)
    for segment in clip:
        gates = (
            weights["lstm.weight_ih_l0"] @ segment
            + weights["lstm.bias_ih_l0"]
            + weights["lstm.weight_hh_l0"] @ state
            + weights["lstm.bias_hh_l0"]
        )
        entry, forget, new, out = gates.reshape(4, n)
        cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(new)
        state = sigmoid(out) * np.tanh(cell)
    return weights["final.weight"] @ state + weights["final.bias"]


def test_lstm_equals_a_plain_loop_whatever_the_padding():
    torch.manual_seed(0)
    network = LSTMHead(4, LSTMConfig(5)).eval()
    lengths = [3, 1, 7]
    clips = torch.randn(3, 7, 128)
    weights = {k: v.numpy().astype(np.float64) for k, v in network.state_dict().items()}
    expected = [
        _plain_lstm(weights, clip[:n].numpy()) for clip, n in zip(clips, lengths, strict=True)
    ]
    with torch.inference_mode():
        logits = network(clips, torch.tensor(lengths))
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)


def test_the_paper_s_lstm_has_600_units():
    assert LSTMHead(41).lstm.hidden_size == 600


def test_the_baseline_has_658_100_weights():
    network = BaselineCNN(41)
    weights = [p.numel() for name, p in network.named_parameters() if name.endswith("weight")]
    assert sum(weights) == 658_100
    with torch.inference_mode():
        assert network(torch.zeros(2, CNN_FRAMES, 64)).shape == (2, 41)


def test_the_baseline_s_windows_are_a_quarter_of_a_second_every_eighth():
    assert CNN_FRAMES * 0.01 == 0.25
    assert CNN_HOP * 0.01 == 0.125
