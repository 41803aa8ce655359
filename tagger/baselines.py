"""What the paper compares with: an LSTM (row B of Table 3) and the DCASE baseline (Table 2).

The baseline of the challenge (DCASE-REPO/dcase2018_baseline, task2) is a small CNN on log-mel
windows of 0.25 s every 0.125 s; its clip score is the mean over windows. Here it reads the same
frames at 16 kHz as VGGish, so its logarithm has VGGish's offset (PAPER.md D26 lists what differs).
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from tagger.configs import LSTMConfig
from tagger.schema import EMBEDDING_SIZE

CNN_FRAMES: Final = 25  # of 10 ms, one window
CNN_HOP: Final = 12.5  # frames, 0.125 s


class LSTMHead(nn.Module):
    """One LSTM layer, whose last output a layer classifies."""

    def __init__(self, n_classes: int, config: LSTMConfig = LSTMConfig()) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(EMBEDDING_SIZE, config.hidden, batch_first=True)
        self.final = nn.Linear(config.hidden, n_classes)

    def forward(self, clips: Tensor, lengths: Tensor) -> Tensor:
        """Logits (n, n_classes) of padded sequences of embeddings.

        Parameters
        ----------
        clips : (n, longest, 128) float32
        lengths : (n,) int64, how many embeddings of each clip are no padding; at least 1
        """
        packed = pack_padded_sequence(clips, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        logits: Tensor = self.final(last[-1])
        return logits


class BaselineCNN(nn.Module):
    """100 kernels 7x7, pool 3/2, 150 5x5, pool 3/2, 200 3x3, global maximum, one layer.

    The challenge's code starts from weights of standard deviation 0.001 and trains for 40 thousand
    steps; ``vggish.initialise`` gives it a start from which far fewer do.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 100, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(100, 150, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(150, 200, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.final = nn.Linear(200, n_classes)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits (n, n_classes) of log-mel windows (n, 25, 64)."""
        maps: Tensor = self.features(windows.unsqueeze(1))
        logits: Tensor = self.final(torch.amax(maps, (2, 3)))
        return logits
