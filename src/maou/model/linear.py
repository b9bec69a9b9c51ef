"""Linear layers that train at any width with one learning rate.

Shapes: B batch, S squares (or channels, where the mixer transposes), I inputs,
O outputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import silu

from maou.model.folding import Foldable

_EPSILON = 1e-12

_RAW_SCALE = 0.01
"""Standard deviation of raw weights, per square root of the fan-in.

As for the kernels of `convolution.py`: the raw scale does not change what a layer
computes, only how fast it turns, and it grows with the root of the fan-in so that the
same learning rate fits every width. The factor is what trained best at the default
learning rate (docs/decisions/0004).
"""


class NormalizedLinear(Foldable):
    """A linear layer with weight rows of length 1, a gain and a bias an output.

    Salimans & Kingma 2016 ("Weight Normalization", eq. 2). The output does not depend
    on the length of the raw rows, and a step across a row only lengthens it, so too
    large a learning rate corrects itself. At inference it is an ordinary linear layer
    (`to_plain`).
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float) -> None:
        """Start as a random map whose output has `gain` times the input's RMS."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.gain = nn.Parameter(torch.full((outputs,), gain))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.weight, std=_RAW_SCALE * math.sqrt(inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., I] to [..., O]."""
        return functional.linear(x, self.matrix(), self.bias)

    def matrix(self) -> Tensor:
        """Give the matrix that is applied, [O, I]."""
        square = self.weight.square().sum(dim=1, keepdim=True)
        return self.weight * (torch.rsqrt(square + _EPSILON) * self.gain[:, None])

    def to_plain(self) -> nn.Linear:
        """Make the ordinary layer that computes the same."""
        outputs, inputs = self.weight.shape
        # On `meta`, since initial values would draw from torch's random generator.
        plain = nn.Linear(inputs, outputs, device="meta")
        plain.weight = nn.Parameter(self.matrix().detach())
        plain.bias = nn.Parameter(self.bias.detach().clone())
        return plain


class FeedForward(nn.Module):
    """linear -> SiLU -> linear, back to the width of its input; at first 0."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = NormalizedLinear(width, hidden, gain=1.0)
        self.outer = NormalizedLinear(hidden, width, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, S, width] to the same shape."""
        change: Tensor = self.outer(silu(self.inner(x)))
        return change
