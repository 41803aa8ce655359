"""Distillation: a network learns what trained ones say, beside the labels (Hinton et al., 2015).

The teachers hear the very example that the network learns from, shifted and mixed as it is, and
not what their clip was before (Beyer et al., 2022: "consistent teaching"). Their answer to a
mixture tells more of it than the shares of the labels do.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from tagger.labels import Labelling
from tagger.prediction import probabilities

TEACHERS_SHARE: Final = 0.7  # of the target; the labels have the rest


class Teachers:
    """Trained networks, in evaluation mode.

    Parameters
    ----------
    networks : as the network that is trained, of the same labels; none leave the labels as they are
    device : of torch, for them and for the examples
    bfloat16 : compute in it where torch deems it safe
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        labelling: Labelling,
        device: torch.device,
        bfloat16: bool,
    ) -> None:
        self._networks = [
            network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for network in networks
        ]
        self._labelling, self._device, self._bfloat16 = labelling, device, bfloat16

    @torch.no_grad()
    def targets(self, values: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Targets (n, K): the mean of what the teachers say of ``values``, and the labels."""
        if not self._networks:
            return labels
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = torch.stack([network(*values) for network in self._networks])
        said = probabilities(logits.float(), self._labelling).mean(0)
        return TEACHERS_SHARE * said + (1 - TEACHERS_SHARE) * labels
