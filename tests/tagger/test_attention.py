"""The multi-level attention model against plain versions of its formulas (paper section 3.4)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.attention import MultiLevelAttention
from tagger.configs import AttentionConfig

EPSILON = 1e-5  # of batch normalisation


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Plain:
    """The model in evaluation mode, one segment of one bag at a time, float64."""

    def __init__(self, head: MultiLevelAttention) -> None:
        self.squashed = {"one": softmax, "several": sigmoid}[head.labelling]
        self.levels = head.config.levels
        self.weights = {key: value.double().numpy() for key, value in head.state_dict().items()}

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        w = self.weights
        deviation = np.sqrt(w[f"{name}.running_var"] + EPSILON)
        normal = (x - w[f"{name}.running_mean"]) / deviation
        return normal * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.norm(
            f"{name}.1", self.weights[f"{name}.0.weight"] @ x + self.weights[f"{name}.0.bias"]
        )

    def attention(self, name: str, segments: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Figure 1: v_k(x_n), p_nk = v_k(x_n) / sum over n, then the sum of p_nk f_k(x_n)."""
        v = [self.squashed(self.dense(f"{name}.weight", x)) for x in segments]
        v = [weight.clip(1e-7, 1 - 1e-7) for weight in v]
        p = [weight / sum(v) for weight in v]
        f = [self.squashed(self.dense(f"{name}.classification", x)) for x in segments]
        return sum(weight * part for weight, part in zip(p, f, strict=True)), np.array(p)

    def __call__(self, bag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (K,) and weights (n_levels, n_segments, K) of one bag (n_segments, 128)."""
        segments = [self.norm("input_norm", x) for x in bag.astype(np.float64)]
        levels = {}
        for level in range(1, max(self.levels) + 1):
            name = f"hidden.{level - 1}"
            segments = [np.maximum(self.dense(name, x), 0) for x in segments]
            levels[level] = segments
        results = [
            self.attention(f"attentions.{i}", levels[level]) for i, level in enumerate(self.levels)
        ]
        concatenated = np.concatenate([prediction for prediction, _ in results])
        return self.dense("final", concatenated), np.array([p for _, p in results])


def some_bags(n: int, n_segments: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_segments, 128, generator=generator).relu()


@pytest.mark.parametrize("levels", [(1, 2, 3), (3,), (2, 3), (1,)])
@pytest.mark.parametrize("n_segments", [1, 6])
@pytest.mark.parametrize("labelling", ["one", "several"])
@torch.inference_mode()
def test_equals_the_plain_version(make_head, levels, n_segments, labelling):
    config = AttentionConfig(n_segments, levels, hidden=20)
    head = make_head(7, config, labelling=labelling)
    bags = some_bags(3, n_segments)
    logits, attention = head.explain(bags)
    expected = [Plain(head)(bag) for bag in bags.numpy()]
    np.testing.assert_allclose(logits, [logit for logit, _ in expected], atol=1e-5)
    np.testing.assert_allclose(attention, [weights for _, weights in expected], atol=1e-6)
    torch.testing.assert_close(head(bags), logits)


@given(
    st.integers(1, 12),
    st.integers(0, 99),
    st.floats(0.01, 1000),
    st.sampled_from(["one", "several"]),
)
@settings(max_examples=25, deadline=None)
@torch.inference_mode()
def test_the_weights_of_a_bag_s_segments_sum_to_1(make_head, n_segments, seed, scale, labelling):
    head = make_head(5, AttentionConfig(n_segments, hidden=8), seed, labelling)
    _, attention = head.explain(scale * some_bags(2, n_segments, seed))
    assert attention.shape == (2, 3, n_segments, 5)
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 3, 5))


@torch.inference_mode()
def test_with_one_segment_a_bag_it_is_the_plain_level_concatenation(make_head):
    """Section 4.1: the levels' classifications, concatenated, into the final layer."""
    head = make_head(7, AttentionConfig(1, hidden=20))
    bags = some_bags(4, 1)
    x = head.input_norm(bags.squeeze(1))
    classified = []
    for layer, attention in zip(head.hidden, head.attentions, strict=True):
        x = layer(x)
        classified.append(attention.classification(x).softmax(-1))
    expected = head.final(torch.cat(classified, -1))
    torch.testing.assert_close(head(bags), expected)


@torch.inference_mode()
def test_the_order_of_a_bag_s_segments_does_not_matter(make_head):
    head = make_head(7, AttentionConfig(hidden=20))
    bags = some_bags(2, 6)
    torch.testing.assert_close(head(bags), head(bags.flip(1)))


def test_about_956_thousand_parameters_for_41_classes():
    with torch.device("meta"):
        head = MultiLevelAttention(41)

    def dense(n_in, n_out):
        """Weights, bias, and the scale and shift of batch normalisation."""
        return n_in * n_out + 3 * n_out

    hidden = dense(128, 600) + 2 * dense(600, 600)
    expected = 2 * 128 + hidden + 3 * 2 * dense(600, 41) + dense(3 * 41, 41)
    assert sum(parameter.numel() for parameter in head.parameters()) == expected
    assert expected == pytest.approx(956_000, rel=1e-3)


def test_batch_normalisation_equals_the_formula_in_training():
    """Mean and variance over bags and segments; running statistics move by a tenth."""
    torch.manual_seed(1)
    norm = MultiLevelAttention(7, AttentionConfig(hidden=8)).input_norm.train()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    bags = some_bags(5, 6)
    rows = bags.double().numpy().reshape(-1, 128)
    mean, variance = rows.mean(0), rows.var(0)
    expected = (rows - mean) / np.sqrt(variance + EPSILON)
    expected = expected * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    found = norm(bags).detach().numpy()
    np.testing.assert_allclose(found.reshape(-1, 128), expected, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, 0.1 * mean, atol=1e-6)
    unbiased = rows.var(0, ddof=1)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * unbiased, atol=1e-5)


def test_dropout_after_each_hidden_layer_drops_0_4_and_keeps_the_mean():
    torch.manual_seed(2)
    head = MultiLevelAttention(7).train()
    for layer in head.hidden:
        order = [type(part).__name__ for part in layer]
        assert order == ["Linear", "_TimeNorm", "ReLU", "Dropout"]
        kept = layer[-1](torch.ones(200, 6, 600))
        assert kept.unique().tolist() == pytest.approx([0, 1 / 0.6])
        assert (kept == 0).double().mean().item() == pytest.approx(0.4, abs=0.005)
        assert kept.mean().item() == pytest.approx(1, abs=0.01)


def test_nothing_is_dropped_when_tagging(make_head):
    head = make_head(7, AttentionConfig(hidden=20))
    bags = some_bags(2, 6)
    torch.testing.assert_close(head(bags), head(bags), rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrong", [{"levels": ()}, {"levels": (0,)}, {"levels": (1, 4)}, {"n_segments": 0}]
)
def test_impossible_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=r"levels|segments"):
        AttentionConfig(**wrong)
