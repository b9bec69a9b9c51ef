"""A convolution that needs no normalisation layer behind it.

Shapes: B batch, C input channels, O output channels, K kernel size.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from maou.model.folding import Foldable

SILU_GAIN = 1.7881293296813965
"""1 / standard deviation of silu(x) for standard normal x: a convolution with this gain
behind a SiLU keeps variance 1 at variance 1 (Brock et al. 2021, section 3.1; the
number is that of the authors' code)."""

_EPSILON = 1e-8

_RAW_SCALE = 0.0035
"""Standard deviation of raw kernels, per square root of the fan-in.

The raw scale does not change what a kernel computes, only how fast it turns. A step of
Adam moves each weight by about the learning rate, all in one direction at first, so to
turn by the same angle at every width the raw scale has to grow with the root of the
fan-in (Yang et al. 2022, "Tensor Programs V", table 3). The factor is what trained best
at the default learning rate (docs/decisions/0001).
"""


class StandardizedConv2d(Foldable):
    """Convolution with standardised kernels, a gain and a bias a channel.

    Scaled weight standardisation: Brock, De & Smith 2021, "Characterizing signal
    propagation to close the performance gap in unnormalized ResNets", eq. 3. Each
    output channel's kernel is brought to mean 0 and to length 1 before use. The
    output does not depend on the raw kernel's scale, so, as with batch normalisation,
    a large learning rate is harmless; but no row sees another row of the batch, and
    at inference it is an ordinary convolution (`to_plain`).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int, *, gain: float
    ) -> None:
        """Start as a random map whose output has `gain` times the input's RMS."""
        super().__init__()
        shape = (outputs, inputs, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.gain = nn.Parameter(torch.full((outputs,), gain))
        self.bias = nn.Parameter(torch.zeros(outputs))
        fan_in = inputs * kernel_size**2
        nn.init.normal_(self.weight, std=_RAW_SCALE * math.sqrt(fan_in))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, 9, 9], zeros around the board; gives [B, O, 9, 9]."""
        return functional.conv2d(
            x, self.kernel(), self.bias, padding=self.weight.shape[-1] // 2
        )

    def kernel(self) -> Tensor:
        """Give the kernel that is applied, [O, C, K, K]."""
        variance, mean = torch.var_mean(
            self.weight, dim=(1, 2, 3), keepdim=True, correction=0
        )
        scale = torch.rsqrt(variance * self.weight[0].numel() + _EPSILON)
        return (self.weight - mean) * (scale * self.gain[:, None, None, None])

    def to_plain(self) -> nn.Conv2d:
        """Make the ordinary convolution that computes the same."""
        outputs, inputs, size, _ = self.weight.shape
        # On `meta`, since initial values would draw from torch's random generator.
        plain = nn.Conv2d(inputs, outputs, size, padding=size // 2, device="meta")
        plain.weight = nn.Parameter(self.kernel().detach())
        plain.bias = nn.Parameter(self.bias.detach().clone())
        return plain
