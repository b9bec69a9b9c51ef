"""The compiled network."""

import torch
from torch import nn

from maou.model.network import BackboneNetwork


class CompiledForward(nn.Module):
    """Runs full batches compiled and the last, smaller one as it is.

    So the compiled graph sees one shape, and a run compiles once for training and once
    for validation.
    """

    def __init__(
        self, network: BackboneNetwork, batch_size: int, backend: str = "inductor"
    ) -> None:
        """Compile for one batch size; the work is done at the first call."""
        super().__init__()
        self._network = network
        self._compiled = torch.compile(network, dynamic=False, backend=backend)
        self.batch_size = batch_size

    def forward(self, board_BS: torch.Tensor, hand_BH: torch.Tensor) -> object:
        """Judge positions, as `Network.forward` does."""
        full = board_BS.shape[0] == self.batch_size
        return (self._compiled if full else self._network)(board_BS, hand_BH)
