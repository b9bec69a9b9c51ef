"""Small networks of every architecture, and positions to show them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.model.config import ModelConfig
from maou.model.network import Network, build_network
from maou.shogi.samples import decode_samples

SMALL = {
    "resnet": {"resnet_blocks": 3, "resnet_channels": 32},
    "mlp-mixer": {
        "mixer_embed_dim": 24,
        "mixer_num_layers": 3,
        "mixer_token_dim": 20,
        "mixer_mlp_ratio": 3.5,
        "mixer_dropout": 0.2,
    },
    "vit": {
        "vit_embed_dim": 24,
        "vit_num_layers": 3,
        "vit_num_heads": 3,
        "vit_mlp_ratio": 2.5,
        "vit_dropout": 0.2,
    },
}
"""Sizes of which none is a default. A new architecture needs an entry here: the
contract tests take every name of the registry."""

ROWS = Path(__file__).parents[2] / "data" / "selfplay-256.hcpe"


def small_config(name: str, **settings: object) -> ModelConfig:
    """Give a small configuration of an architecture."""
    return ModelConfig(model_architecture=name, **{**SMALL[name], **settings})


def trained_network(name: str, **settings: object) -> Network:
    """Build a network whose parameters are all away from their initial values."""
    torch.manual_seed(1)
    network = build_network(small_config(name, **settings))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def positions(count: int) -> tuple[Tensor, Tensor]:
    """Give real positions, uint8 [count, 81] and [count, 14]."""
    rows = np.fromfile(ROWS, dtype=np.uint8).reshape(-1, 38)[:count]
    samples = decode_samples(rows)
    return torch.from_numpy(samples.board_BS), torch.from_numpy(samples.hand_BH)


def backward(network: Network, count: int = 8) -> dict[str, Tensor]:
    """Give the gradient of the mean loss by parameter, zeros where there is none."""
    network.zero_grad()
    targets = Targets(torch.arange(count) * 61 % 1496, torch.arange(count) % 3 / 2)
    losses = total_loss(network(*positions(count)), targets, LossConfig())
    losses.total_B.mean().backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }
