"""The network: shapes, what can see what, and independence of the batch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from maou.errors import ConfigError
from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.model.backbone import Features
from maou.model.config import BACKBONE_NAMES, ModelConfig
from maou.model.embedding import HandProjection, PieceEmbedding
from maou.model.heads import PolicyHead
from maou.model.network import Network, build_network
from maou.model.registry import BACKBONE_ARCHITECTURES
from maou.shogi.pieces import HAND_MAX

SMALL = {"resnet_blocks": 2, "resnet_channels": 32}


def positions(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    board_BS = torch.randint(0, 29, (count, 81), generator=generator)
    hand_BH = torch.randint(0, 3, (count, 14), generator=generator)
    return board_BS.to(torch.uint8), hand_BH.to(torch.uint8)


def trained_network(**settings: object) -> Network:
    """Build a network whose parameters are all away from their initial zeros."""
    torch.manual_seed(1)
    network = build_network(ModelConfig(**{**SMALL, **settings}))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def gradients(network: Network, parts: list[int]) -> list[Tensor]:
    """Accumulate the gradient of the mean loss over micro-batches of these sizes."""
    board_BS, hand_BH = positions(sum(parts))
    label_B = torch.arange(sum(parts)) * 61 % 1496
    value_B = torch.arange(sum(parts)) % 3 / 2
    network.zero_grad()
    whole = (board_BS, hand_BH, label_B, value_B)
    cuts = zip(*(part.split(parts) for part in whole), strict=True)
    for board, hand, label, value in cuts:
        losses = total_loss(network(board, hand), Targets(label, value), LossConfig())
        (losses.total_B.sum() / sum(parts)).backward()
    found = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


@pytest.mark.parametrize("name", BACKBONE_NAMES)
@pytest.mark.parametrize("count", [1, 5])
def test_shapes(name: str, count: int) -> None:
    network = build_network(ModelConfig(model_architecture=name, **SMALL))
    logits_BM, value_B = network(*positions(count))
    assert logits_BM.shape == (count, 1496)
    assert value_B.shape == (count,)
    assert logits_BM.dtype == value_B.dtype == torch.float32


def test_fresh_network_has_no_opinion() -> None:
    logits_BM, value_B = build_network(ModelConfig(**SMALL))(*positions(4))
    assert torch.all(logits_BM == 0)
    assert torch.all(value_B == 0)


def test_registry_has_the_listed_names() -> None:
    assert tuple(BACKBONE_ARCHITECTURES) == BACKBONE_NAMES


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
    network = trained_network().double()
    whole = gradients(network, [24])
    parts = gradients(network, [5, 1, 12, 6])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)


def test_no_row_depends_on_another_nor_on_the_mode() -> None:
    network = trained_network()
    board_BS, hand_BH = positions(6)
    together = network(board_BS, hand_BH)
    alone = network.eval()(board_BS[4:5], hand_BH[4:5])
    torch.testing.assert_close(together[0][4:5], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1][4:5], alone[1], rtol=1e-4, atol=1e-5)


def saved_bytes(network: Network) -> int:
    """Count what the forward pass keeps for the backward pass."""
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(*positions(16))
    return total


@pytest.mark.parametrize("name", BACKBONE_NAMES)
def test_gradient_checkpointing_saves_memory_and_changes_nothing(name: str) -> None:
    plain = trained_network(model_architecture=name)
    saving = trained_network(model_architecture=name, gradient_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    both = zip(gradients(plain, [16]), gradients(saving, [16]), strict=True)
    assert all(torch.equal(one, other) for one, other in both)
    assert saved_bytes(saving) < 0.7 * saved_bytes(plain)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiles_without_graph_breaks(checkpointing: bool) -> None:
    network = trained_network(gradient_checkpointing=checkpointing)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for one, other in zip(network(*positions(3)), compiled(*positions(3)), strict=True):
        torch.testing.assert_close(one, other)


def test_bfloat16_autocast_gives_finite_float32_losses() -> None:
    network = trained_network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(*positions(4))
        targets = Targets(torch.arange(4), torch.tensor([0.0, 0.5, 1.0, 1.0]))
        losses = total_loss(outputs, targets, LossConfig())
    exact = total_loss(network(*positions(4)), targets, LossConfig())
    assert losses.total_B.dtype == torch.float32
    torch.testing.assert_close(losses.total_B, exact.total_B, rtol=0.05, atol=0.05)
