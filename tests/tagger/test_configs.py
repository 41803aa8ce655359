"""Numbers that make no sense are refused, by the name of the field."""

import pytest

from tagger.configs import (
    AttentionConfig,
    LSTMConfig,
    TrainingConfig,
    VGGishConfig,
)
from tagger.errors import OptionError


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (VGGishConfig, {"embedding_activation": "tanh"}),
        (VGGishConfig, {"conv_widths": (1, 2, 3)}),
        (VGGishConfig, {"conv_widths": (1, 2, 3, 0)}),
        (VGGishConfig, {"hidden": 0}),
        (AttentionConfig, {"levels": ()}),
        (AttentionConfig, {"levels": (1, 4)}),
        (AttentionConfig, {"n_segments": 0}),
        (AttentionConfig, {"hidden": 0}),
        (AttentionConfig, {"dropout": 1.0}),
        (LSTMConfig, {"hidden": 0}),
        (TrainingConfig, {"epochs": -1}),
        (TrainingConfig, {"patience": -1}),
        (TrainingConfig, {"batch_size": 0}),
        (TrainingConfig, {"learning_rate": -1.0}),
        (TrainingConfig, {"weight_decay": -1.0}),
        (TrainingConfig, {"average": 1.0}),
        (TrainingConfig, {"mixup": -0.1}),
    ],
)
def test_numbers_that_make_no_sense_are_refused(config, wrong):
    (name,) = wrong
    with pytest.raises(OptionError, match=f"^{name} must") as caught:
        config(**wrong)
    assert caught.value.option == name


def test_no_patience_is_one_thing():
    assert TrainingConfig(patience=0) == TrainingConfig(patience=None)
