"""What may vary in the networks and their training; needs no torch.

The defaults are the paper's. Each class refuses numbers that make no sense with an ``OptionError``.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from tagger.errors import OptionError

Batches = Literal["balanced", "unbalanced", "examples"]
EmbeddingActivation = Literal["relu", "none"]


def require_positive(option: str, value: float) -> None:
    """OptionError unless ``value`` is greater than 0."""
    if not value > 0:
        raise OptionError(option, "must be greater than 0")


@dataclass(frozen=True)
class VGGishConfig:
    """What may vary in an extractor; the defaults are Table 1.

    Attributes
    ----------
    conv_widths : channels of the four convolution groups
    hidden : units of the two fully connected layers before the embedding
    embedding_activation : ``relu`` as in the paper, or ``none`` as in the current public release
    """

    conv_widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    hidden: int = 4096
    embedding_activation: EmbeddingActivation = "relu"

    def __post_init__(self) -> None:
        if self.embedding_activation not in get_args(EmbeddingActivation):
            raise OptionError("embedding_activation", "must be relu or none")
        if len(self.conv_widths) != 4 or min(self.conv_widths) < 1:
            raise OptionError("conv_widths", "must be four numbers greater than 0")
        require_positive("hidden", self.hidden)


@dataclass(frozen=True)
class AttentionConfig:
    """What may vary in the head; the defaults are the paper's best row.

    Attributes
    ----------
    n_segments : segments in a bag
    levels : which of the three hidden layers an attention module reads
    hidden : units of each hidden layer
    dropout : ratio after each hidden layer
    """

    n_segments: int = 6
    levels: tuple[int, ...] = (1, 2, 3)
    hidden: int = 600
    dropout: float = 0.4

    def __post_init__(self) -> None:
        if not self.levels or not set(self.levels) <= {1, 2, 3}:
            raise OptionError("levels", "must be some of 1, 2 and 3")
        require_positive("n_segments", self.n_segments)
        require_positive("hidden", self.hidden)


@dataclass(frozen=True)
class LSTMConfig:
    """What may vary in the LSTM upon the embeddings of a whole clip; the default is the paper.

    Attributes
    ----------
    hidden : units of its one layer
    """

    hidden: int = 600

    def __post_init__(self) -> None:
        require_positive("hidden", self.hidden)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained.

    Attributes
    ----------
    epochs : passes over the training clips, at most
    patience : stop after so many epochs without a better validation loss and keep the best
        weights; None: no early stopping, the weights after the last epoch
    batches : ``balanced`` one clip of each class; ``unbalanced`` ``batch_size`` clips drawn at
        random, both with all their examples; ``examples`` ``batch_size`` examples of any clips
    learning_rate, weight_decay : of Adam, the decay decoupled
    one_cycle : raise the learning rate during the first tenth of all steps, then lower it to 0
    average : decay per step of a running mean of the weights, which is then what is evaluated and
        kept; 0: none
    mixup : alpha of mixup; 0: none
    bfloat16 : compute in bfloat16 where torch deems it safe, weights stay float32
    """

    epochs: int = 100
    patience: int | None = 10
    batches: Batches = "examples"
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    one_cycle: bool = False
    average: float = 0.0
    mixup: float = 0.0
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """OptionError where a number makes no sense."""
        for name in ("epochs", "learning_rate", "weight_decay", "mixup"):
            if getattr(self, name) < 0:
                raise OptionError(name, "must not be negative")
        if self.patience is not None:
            require_positive("patience", self.patience)
        require_positive("batch_size", self.batch_size)
        if not 0 <= self.average < 1:
            raise OptionError("average", "must be 0 or more, and less than 1")


CNN_TRAINING: Final = TrainingConfig(
    epochs=5, patience=None, batches="examples", batch_size=64, learning_rate=1e-4
)
