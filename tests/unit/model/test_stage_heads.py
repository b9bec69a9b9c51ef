"""The heads and networks of stages 1 and 2."""

import numpy as np
import pytest
import torch
from networks import SMALL, positions, small_config
from torch import Tensor, nn

from maou.convert.stage1 import stage1_cases
from maou.errors import ConfigError
from maou.losses.config import MultiLabelShape
from maou.losses.multi_label import multi_label_loss
from maou.model.backbone import Features
from maou.model.config import LegalMovesHeadConfig, ModelConfig
from maou.model.folding import fold
from maou.model.heads import LegalMovesHead, PolicyHead, ReachableHead
from maou.model.network import (
    BackboneNetwork,
    LegalMovesNetwork,
    Network,
    ReachableNetwork,
    build_network,
)
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.records.stages import unpack_bits
from maou.shogi.labels import LABEL_BOARD_INDEX, LABEL_CLASS

HEADS = [
    LegalMovesHeadConfig(),
    LegalMovesHeadConfig(stage2_hidden_dim=40, stage2_head_dropout=0.3),
]


def features(channels: int) -> Features:
    torch.manual_seed(0)
    squares_BSC = torch.randn(2, 81, channels)
    return Features(squares_BSC, squares_BSC.mean(dim=1))


def randomize(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))


def test_a_square_reads_its_own_features() -> None:
    head, seen = ReachableHead(6), features(6)
    randomize(head)
    weight = head.reachable.matrix()[0]
    logits_BS = head(seen)
    assert logits_BS.shape == (2, 81)
    for square in (0, 8, 40, 80):
        torch.testing.assert_close(
            logits_BS[:, square],
            seen.squares_BSC[:, square] @ weight + head.reachable.bias,
        )


@pytest.mark.parametrize("hidden_dim", [None, 5])
def test_a_label_reads_its_class_at_its_destination(hidden_dim: int | None) -> None:
    head, seen = LegalMovesHead(6, hidden_dim=hidden_dim), features(6)
    randomize(head)
    hidden_BSC = head.hidden(seen.squares_BSC)
    logits_BM = head(seen)
    assert logits_BM.shape == (2, 1496)
    for label in range(0, 1496, 55):
        number = LABEL_CLASS[label]
        read = hidden_BSC[:, LABEL_BOARD_INDEX[label]] @ head.classes.matrix()[number]
        expected = read + head.classes.bias[number] + head.label_bias_M[label]
        torch.testing.assert_close(logits_BM[:, label], expected)


def test_the_two_label_heads_read_alike() -> None:
    classes_BKS = torch.randn(3, 27, 81)
    policy, legal = PolicyHead(4), LegalMovesHead(4)
    nn.init.zeros_(legal.label_bias_M)
    read_BM = legal.label_logits(classes_BKS)
    assert torch.equal(read_BM, policy.label_logits(classes_BKS))


def test_at_first_every_flag_has_its_share() -> None:
    board_BS, hand_BH = positions(3)
    config = small_config("resnet")
    reachable = ReachableNetwork(config)
    # Its gain is 1: only where no feature speaks, the answer is the share.
    nn.init.zeros_(reachable.reachable_head.reachable.gain)
    reachable_BS = reachable(board_BS, hand_BH).sigmoid()
    flags = unpack_bits(stage1_cases()["reachableSquares"], 81)
    torch.testing.assert_close(
        reachable_BS, torch.full((3, 81), float(flags.mean())), atol=5e-4, rtol=0.0
    )
    for head in HEADS:
        legal_BM = LegalMovesNetwork(config, head)(board_BS, hand_BH).sigmoid()
        torch.testing.assert_close(legal_BM, torch.full((3, 1496), 0.048))


def test_dropout_drops_hidden_values_in_training_only() -> None:
    head, seen = LegalMovesHead(6, hidden_dim=50, dropout=0.5), features(6)
    randomize(head)
    assert not torch.equal(head(seen), head(seen))
    head.eval()
    assert torch.equal(head(seen), head(seen))


@pytest.mark.parametrize("name", list(SMALL))
def test_the_networks_have_one_backbone_and_a_head_each(name: str) -> None:
    config = small_config(name)
    torch.manual_seed(3)
    wanted = build_network(config)
    stages: list[BackboneNetwork] = []
    for head in HEADS:
        torch.manual_seed(3)
        stages.append(LegalMovesNetwork(config, head))
    torch.manual_seed(3)
    stages.append(ReachableNetwork(config))
    for network in stages:
        assert network.config == config
        children = [child for child, _ in network.named_children()]
        assert children[0] == "backbone"
        assert children[1:] in (["legal_moves_head"], ["reachable_head"])
        given = network.backbone.state_dict()
        for key, value in wanted.backbone.state_dict().items():
            assert torch.equal(given[key], value), key
        wanted.backbone.load_state_dict(given)


def test_the_policy_network_keeps_its_parameters() -> None:
    network = build_network(small_config("resnet"))
    assert isinstance(network, Network)
    names = [name for name, _ in network.named_parameters() if "backbone" not in name]
    assert names == [
        "policy_head.label_bias_M",
        "policy_head.conv.weight",
        "policy_head.conv.gain",
        "policy_head.conv.bias",
        "policy_head.classes.weight",
        "value_head.planes.weight",
        "value_head.planes.bias",
        "value_head.hidden.weight",
        "value_head.hidden.bias",
        "value_head.hidden_norm.weight",
        "value_head.hidden_norm.bias",
        "value_head.outlook.weight",
        "value_head.outlook.bias",
    ]


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_gets_a_gradient_and_folding_changes_nothing(
    head: LegalMovesHeadConfig,
) -> None:
    torch.manual_seed(5)
    network = LegalMovesNetwork(small_config("resnet"), head)
    with torch.no_grad():  # away from initial values, of which many are 0
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    logits_BM = network(*positions(8))
    loss = multi_label_loss(logits_BM, torch.zeros(8, 1496), MultiLabelShape())
    loss.mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    network.eval()
    before_BM = network(*positions(8))
    fold(network)
    torch.testing.assert_close(network(*positions(8)), before_BM, rtol=1e-4, atol=1e-4)


def cases() -> tuple[Tensor, Tensor, Tensor]:
    """Give stage 1's boards [1105, 81], hands [1105, 14] and flags [1105, 81]."""
    records = stage1_cases()
    flat = np.ascontiguousarray(records["boardIdPositions"]).reshape(-1, 81)
    flags = unpack_bits(records["reachableSquares"], 81)
    hands = np.ascontiguousarray(records["piecesInHand"])
    return torch.from_numpy(flat), torch.from_numpy(hands), torch.from_numpy(flags)


def test_stage_1_is_learned_at_the_default_learning_rate() -> None:
    torch.manual_seed(0)
    network = ReachableNetwork(ModelConfig(resnet_blocks=2, resnet_channels=32))
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    board_BS, hand_BH, flags_BS = cases()
    losses: list[float] = []
    for rows in torch.randperm(len(board_BS)).repeat(4).split(32):
        logits_BS = network(board_BS[rows], hand_BH[rows])
        loss = multi_label_loss(logits_BS, flags_BS[rows], MultiLabelShape()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    first, last = losses[0], sum(losses[-10:]) / 10
    assert 0.25 < first < 0.4  # the entropy of a flag of share 0.098 is 0.32
    assert last < 0.6 * first


def test_hidden_width_of_the_head() -> None:
    assert LegalMovesHeadConfig().stage2_hidden_dim is None
    config = ModelConfig(resnet_blocks=1, resnet_channels=8)
    head = LegalMovesHeadConfig(stage2_hidden_dim=512)
    network = LegalMovesNetwork(config, head)
    assert network.legal_moves_head.classes.weight.shape == (27, 512)
    with pytest.raises(ConfigError, match="--stage2-hidden-dim: 0 is out"):
        LegalMovesHeadConfig(stage2_hidden_dim=0)


def test_dropout_needs_a_hidden_layer() -> None:
    with pytest.raises(ConfigError, match=r"--stage2-head-dropout 0\.1.*--stage2-hid"):
        LegalMovesHeadConfig(stage2_head_dropout=0.1)
    with pytest.raises(ConfigError, match=r"--stage2-head-dropout: 1\.0 is out"):
        LegalMovesHeadConfig(stage2_hidden_dim=8, stage2_head_dropout=1.0)
