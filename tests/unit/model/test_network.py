"""Embedding, heads and the ResNet's stages; `test_architectures.py` has the rest."""

import pytest
import torch
from networks import positions, trained_network
from torch import Tensor, nn
from torch.nn.functional import silu

from maou.errors import ConfigError
from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.model.backbone import Features
from maou.model.config import ModelConfig
from maou.model.embedding import HandProjection, PieceEmbedding
from maou.model.heads import PolicyHead
from maou.model.network import Network, build_network
from maou.shogi.pieces import HAND_MAX


def gradients(network: Network, parts: list[int]) -> list[Tensor]:
    """Accumulate the gradient of the mean loss over micro-batches of these sizes."""
    board_BS, hand_BH = positions(sum(parts))
    label_B = torch.arange(sum(parts)) * 61 % 1496
    value_B = torch.arange(sum(parts)) % 3 / 2
    network.zero_grad()
    torch.manual_seed(7)  # some backbones have dropout
    whole = (board_BS, hand_BH, label_B, value_B)
    cuts = zip(*(part.split(parts) for part in whole), strict=True)
    for board, hand, label, value in cuts:
        losses = total_loss(network(board, hand), Targets(label, value), LossConfig())
        (losses.total_B.sum() / sum(parts)).backward()
    found = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


def test_architecture_name() -> None:
    assert ModelConfig(model_architecture="ResNet").model_architecture == "resnet"
    with pytest.raises(ConfigError, match=r"--model-architecture.*Did you mean resnet"):
        ModelConfig(model_architecture="resent")


@pytest.mark.parametrize("field", ["resnet_blocks", "resnet_channels"])
def test_sizes_are_positive(field: str) -> None:
    with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')}: 0"):
        ModelConfig(**{field: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("blocks", "depths"),
    [(1, [1]), (3, [1, 1, 1]), (4, [1] * 4), (10, [2, 2, 3, 3]), (20, [5] * 4)],
)
def test_groups_are_the_whole_trunk(blocks: int, depths: list[int]) -> None:
    config = ModelConfig(resnet_blocks=blocks, resnet_channels=4)
    backbone = build_network(config).backbone
    groups = backbone.groups()
    assert [len(list(stage.blocks)) for stage in groups] == depths  # type: ignore[arg-type]
    grouped = {id(p) for group in groups for p in group.parameters()}
    assert grouped == {id(p) for p in backbone.trunk.parameters()}


@pytest.mark.parametrize("count", range(14))
def test_each_hand_count_reaches_every_square_scaled(count: int) -> None:
    torch.manual_seed(0)
    projection, embedding = HandProjection(8), PieceEmbedding(8)
    board_BS = torch.zeros(1, 81, dtype=torch.uint8)
    hand_BH = torch.zeros(1, 14, dtype=torch.uint8)
    before = embedding(board_BS) + projection(hand_BH)
    hand_BH[0, count] = int(HAND_MAX[count])
    change = (embedding(board_BS) + projection(hand_BH) - before)[0]
    assert change.shape == (81, 8)
    full_hand = projection.linear.weight[:, count].expand(81, 8)
    torch.testing.assert_close(change, full_hand)


def test_the_same_piece_is_told_apart_by_square() -> None:
    embedded = PieceEmbedding(8)(torch.ones(1, 81, dtype=torch.uint8))[0]
    assert len(torch.unique(embedded, dim=0)) == 81


@pytest.mark.parametrize(
    ("label", "move_class", "rank", "file"),
    [  # counted by hand from the table of labels
        (53, 0, 6, 7),  # up to 7f: six files of 8 destinations, then rank f
        (0, 0, 1, 1),  # up to 1a
        (71, 0, 8, 9),  # up to 9h, the last of its class
        (136, 2, 1, 1),  # up-right to 1a: files 1..8, ranks a..h
        (199, 2, 8, 8),  # up-right to 8h
        (624, 10, 1, 1),  # promoting up to 1a
        (650, 10, 3, 9),  # promoting up to 9c
        (965, 20, 2, 1),  # a pawn dropped on 1b
        (1253, 24, 1, 1),  # a gold on 1a
        (1335, 25, 2, 1),  # a bishop on 1b
        (1495, 26, 9, 9),  # a rook on 9i
    ],
)
def test_a_label_reads_its_class_at_its_destination(
    label: int, move_class: int, rank: int, file: int
) -> None:
    torch.manual_seed(0)
    head = PolicyHead(6)
    nn.init.normal_(head.classes.weight)
    nn.init.normal_(head.label_bias_M)
    squares_BSC = torch.randn(2, 81, 6)
    logits_BM = head(Features(squares_BSC, squares_BSC.mean(dim=1)))
    planes = squares_BSC.view(2, 9, 9, 6).permute(0, 3, 1, 2)
    seen = silu(head.conv(planes))[:, :, rank - 1, file - 1]
    weight = head.classes.weight[move_class, :, 0, 0]
    torch.testing.assert_close(
        logits_BM[:, label], seen @ weight + head.label_bias_M[label]
    )


def test_accumulated_gradients_equal_those_of_the_big_batch() -> None:
    network = trained_network("resnet").double()
    whole = gradients(network, [24])
    parts = gradients(network, [5, 1, 12, 6])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)
