"""The standardised convolution and its plain form."""

import torch
from torch import nn
from torch.nn.functional import silu

from maou.model.convolution import (
    SILU_GAIN,
    StandardizedConv2d,
)
from maou.model.folding import fold


def test_kernels_have_mean_0_and_the_length_of_the_gain() -> None:
    convolution = StandardizedConv2d(8, 5, 3, gain=2.5)
    flat = convolution.kernel().detach().flatten(1)
    torch.testing.assert_close(flat.mean(dim=1), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(flat.norm(dim=1), torch.full((5,), 2.5))


def test_the_scale_of_the_raw_kernel_does_not_matter() -> None:
    convolution = StandardizedConv2d(8, 5, 3, gain=1.0)
    before = convolution.kernel()
    with torch.no_grad():
        convolution.weight.mul_(37.0)
    torch.testing.assert_close(convolution.kernel(), before, rtol=1e-4, atol=1e-6)


def test_gain_keeps_the_variance_behind_a_silu() -> None:
    torch.manual_seed(0)
    convolution = StandardizedConv2d(128, 128, 3, gain=SILU_GAIN)
    inside = convolution(silu(torch.randn(16, 128, 9, 9)))[:, :, 1:-1, 1:-1]
    assert 0.9 < inside.var().item() < 1.1


def test_folding_changes_neither_results_nor_random_numbers() -> None:
    torch.manual_seed(0)
    stack = nn.Sequential(
        StandardizedConv2d(3, 4, 3, gain=1.3),
        nn.Sequential(nn.ReLU(), StandardizedConv2d(4, 2, 1, gain=0.7)),
    )
    nn.init.normal_(stack[0].bias)  # type: ignore[arg-type]
    planes = torch.randn(2, 3, 9, 9)
    before, state = stack(planes), torch.get_rng_state()
    fold(stack)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(isinstance(m, StandardizedConv2d) for m in stack.modules())
    torch.testing.assert_close(stack(planes), before)
