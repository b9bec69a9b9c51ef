"""One step: accumulated gradients are those of the one big batch."""

import itertools

import pytest
import torch

from maou.data.kinds import HCPE_ROWS
from maou.errors import ConfigError
from maou.losses.config import LossConfig
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.train.device import resolve_compute
from maou.train.step import accumulate_gradients
from maou.train.task import PolicyValueTask

TASK = PolicyValueTask(LossConfig())
CPU = resolve_compute("cpu")


def _batch(rows, start: int, stop: int):
    import numpy as np

    return HCPE_ROWS.encode(rows, np.arange(start, stop, dtype=np.int64), str)


def _gradients(network) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone() for name, parameter in network.named_parameters()
    }


@pytest.mark.parametrize("cuts", [(0, 32, 64), (0, 10, 11, 64), (0, 64)])
def test_accumulation_gives_the_gradient_of_the_big_batch(selfplay_rows, cuts):
    torch.manual_seed(0)
    network = build_network(ModelConfig(resnet_blocks=2, resnet_channels=16)).train()
    with torch.no_grad():  # zero-initialised layers would hide the others' gradients
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    whole = accumulate_gradients(network, [_batch(selfplay_rows, 0, 64)], TASK, CPU)
    expected = _gradients(network)
    network.zero_grad()
    parts = [_batch(selfplay_rows, a, b) for a, b in itertools.pairwise(cuts)]
    sums = accumulate_gradients(network, parts, TASK, CPU)
    assert sums.rows == whole.rows == 64
    torch.testing.assert_close(sums.sums, whole.sums, rtol=1e-5, atol=1e-5)
    for name, gradient in _gradients(network).items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-4, atol=1e-6, msg=name
        )


def test_loss_ratios_scale_the_gradient_of_their_head(selfplay_rows):
    torch.manual_seed(0)
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=8)).train()
    batch = [_batch(selfplay_rows, 0, 16)]
    accumulate_gradients(network, batch, TASK, CPU)
    one = _gradients(network)
    network.zero_grad()
    accumulate_gradients(
        network, batch, PolicyValueTask(LossConfig(value_loss_ratio=3.0)), CPU
    )
    three = _gradients(network)
    name = "value_head.outlook.bias"
    torch.testing.assert_close(three[name], 3 * one[name])
    name = "policy_head.label_bias_M"
    torch.testing.assert_close(three[name], one[name])


@pytest.mark.parametrize("name", ["cuda:99", "tpu0", "", "cuda:-1", "meta", "mps"])
def test_an_absent_device_is_an_error_and_never_replaced(name):
    with pytest.raises(ConfigError, match=f"--gpu {name}") as caught:
        resolve_compute(name)
    assert len(str(caught.value)) < 500
