"""What may vary in the networks and their training; needs no torch.

The defaults are the paper's. Each class refuses numbers that make no sense with an ``OptionError``.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from tagger.errors import OptionError

Batches = Literal["balanced", "unbalanced", "examples"]
EmbeddingActivation = Literal["relu", "none"]
Precision = Literal["float32", "bfloat16"]


def require_positive(option: str, value: float) -> None:
    """OptionError unless ``value`` is greater than 0."""
    if not value > 0:
        raise OptionError(option, "must be greater than 0")


@dataclass(frozen=True)
class VGGishConfig:
    """What may vary in an extractor; the defaults are Table 1."""

    conv_widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the four groups of convolutions."""

    hidden: int = 4096
    """Units of the two fully connected layers before the embedding."""

    embedding_activation: EmbeddingActivation = "relu"
    """Activation of the embedding: relu as in the paper, or none as in the current public
    release."""

    def __post_init__(self) -> None:
        if self.embedding_activation not in get_args(EmbeddingActivation):
            raise OptionError("embedding_activation", "must be relu or none")
        if len(self.conv_widths) != 4 or min(self.conv_widths) < 1:
            raise OptionError("conv_widths", "must be four numbers greater than 0")
        require_positive("hidden", self.hidden)


@dataclass(frozen=True)
class AttentionConfig:
    """What may vary in the head; the defaults are the paper's best row."""

    n_segments: int = 6
    """Segments of 0.96 s in a bag, which is what the attention chooses from."""

    levels: tuple[int, ...] = (1, 2, 3)
    """Which of the three hidden layers an attention module reads."""

    hidden: int = 600
    """Units of each hidden layer."""

    dropout: float = 0.4
    """Fraction of the units that is dropped after each hidden layer, while training."""

    def __post_init__(self) -> None:
        if not self.levels or not set(self.levels) <= {1, 2, 3}:
            raise OptionError("levels", "must be some of 1, 2 and 3")
        require_positive("n_segments", self.n_segments)
        require_positive("hidden", self.hidden)
        if not 0 <= self.dropout < 1:
            raise OptionError("dropout", "must be 0 or more, and less than 1")


@dataclass(frozen=True)
class LSTMConfig:
    """What may vary in the LSTM upon the embeddings of a whole clip; the default is the paper."""

    hidden: int = 600
    """Units of its one layer."""

    def __post_init__(self) -> None:
        require_positive("hidden", self.hidden)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained."""

    epochs: int = 100
    """Epochs, at most. Each ends with a validation. 0 keeps the network as it starts."""

    steps_per_epoch: int | None = None
    """Steps of an epoch: how many batches are learned from before each validation. Left out: one
    pass over the training clips. Where clips are few a pass has few steps, and a number such as 50
    lets an epoch go over the clips several times: 40 epochs are 2,000 steps then."""

    patience: int | None = 10
    """Stop after so many epochs without a better validation loss, and keep the best weights. 0 (in
    Python also None) trains for all epochs and keeps the last weights."""

    batches: Batches = "examples"
    """What a batch is: balanced takes one clip of each class, unbalanced takes clips at random,
    both with all their examples; examples takes examples of any clips."""

    batch_size: int = 128
    """Clips of an unbalanced batch, or examples of a batch of examples."""

    learning_rate: float = 1e-3
    """Learning rate of Adam."""

    weight_decay: float = 0.0
    """Weight decay of Adam, decoupled from the gradient; 0 is none."""

    one_cycle: bool = False
    """Raise the learning rate during the first tenth of all steps, then lower it to 0."""

    average: float = 0.0
    """Decay per step of a running mean of the weights, such as 0.99. The mean is then what is
    evaluated and kept; 0 is none."""

    mixup: float = 0.0
    """Alpha of mixup, which trains on weighted sums of two examples; 0 is none. The paper's best
    is 0.2."""

    bfloat16: bool = False
    """Compute in bfloat16 where torch deems it safe. The weights stay float32."""

    seed: int = 0
    """Seed of the first weights, of the batches and of mixup."""

    def __post_init__(self) -> None:
        """OptionError where a number makes no sense."""
        for name in ("epochs", "learning_rate", "weight_decay", "mixup"):
            if getattr(self, name) < 0:
                raise OptionError(name, "must not be negative")
        if self.patience == 0 or self.epochs == 0:
            object.__setattr__(self, "patience", None)
        for name in ("patience", "steps_per_epoch"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name))
        require_positive("batch_size", self.batch_size)
        if not 0 <= self.average < 1:
            raise OptionError("average", "must be 0 or more, and less than 1")


CNN_TRAINING: Final = TrainingConfig(
    epochs=5, patience=None, batches="examples", batch_size=64, learning_rate=1e-4
)
