"""The contract of a backbone architecture, for every one in the registry."""

from pathlib import Path

import pytest
import torch
from networks import SMALL, backward, positions, small_config, trained_network
from torch import nn

from maou.checkpoint.load import load_checkpoint
from maou.checkpoint.save import save_checkpoint
from maou.export.onnx import export_onnx, verify_onnx
from maou.export.runtime import OnnxModel
from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.model.config import BACKBONE_NAMES, ModelConfig
from maou.model.folding import Foldable
from maou.model.network import build_network
from maou.model.registry import BACKBONE_ARCHITECTURES
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.shogi.pieces import HAND_MAX
from maou.train.state import TrainState

every = pytest.mark.parametrize("name", BACKBONE_NAMES)


def test_registry_has_the_listed_names() -> None:
    assert tuple(BACKBONE_ARCHITECTURES) == BACKBONE_NAMES == tuple(SMALL)


@every
@pytest.mark.parametrize("count", [1, 5])
def test_shapes_and_a_fresh_network_has_no_opinion(name: str, count: int) -> None:
    network = build_network(small_config(name))
    logits_BM, value_B = network(*positions(count))
    assert logits_BM.shape == (count, 1496)
    assert value_B.shape == (count,)
    assert logits_BM.dtype == value_B.dtype == torch.float32
    assert torch.all(logits_BM == 0)
    assert torch.all(value_B == 0)


@every
def test_every_parameter_gets_a_gradient(name: str) -> None:
    for parameter, gradient in backward(trained_network(name)).items():
        assert gradient.abs().max() > 0, parameter


@every
def test_a_fresh_network_learns_at_once(name: str) -> None:
    """Layers that start at zero must not keep those behind them at zero for ever."""
    torch.manual_seed(0)
    network = build_network(small_config(name))
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    losses = []
    for _ in range(8):
        gradients = backward(network)
        optimizer.step()
        losses.append(sum(float(g.abs().sum()) for g in gradients.values()))
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


@every
@pytest.mark.parametrize("count", range(14))
def test_each_hand_count_changes_every_square(name: str, count: int) -> None:
    backbone = trained_network(name).backbone.eval()
    board_BS, hand_BH = positions(1)
    with torch.no_grad():
        hand_BH[0, count] = 0
        without = backbone(board_BS, hand_BH).squares_BSC
        hand_BH[0, count] = int(HAND_MAX[count])
        change_SC = (backbone(board_BS, hand_BH).squares_BSC - without)[0]
    assert change_SC.abs().amax(dim=1).min() > 1e-4


@every
def test_every_square_is_seen_from_every_square(name: str) -> None:
    """One trunk reaches across the board: what stands on 1a matters on 9i."""
    backbone = trained_network(name).backbone.eval()
    board_BS, hand_BH = positions(1)
    with torch.no_grad():
        before = backbone(board_BS, hand_BH).squares_BSC
        board_BS[0, 0] = (board_BS[0, 0] + 1) % 29
        change_SC = (backbone(board_BS, hand_BH).squares_BSC - before)[0]
    assert change_SC.abs().amax(dim=1).min() > 1e-6


@every
def test_no_row_depends_on_another(name: str) -> None:
    network = trained_network(name).eval()
    board_BS, hand_BH = positions(6)
    together = network(board_BS, hand_BH)
    alone = network(board_BS[4:5], hand_BH[4:5])
    torch.testing.assert_close(together[0][4:5], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1][4:5], alone[1], rtol=1e-4, atol=1e-5)


@every
def test_training_is_determined_by_the_generator(name: str) -> None:
    def gradients(seed: int) -> list[torch.Tensor]:
        network = trained_network(name).train()
        torch.manual_seed(seed)
        return list(backward(network).values())

    one, again = gradients(3), gradients(3)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    other = gradients(4)
    dropped = any(isinstance(m, nn.Dropout) for m in trained_network(name).modules())
    same = all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert same is not dropped


@every
def test_nothing_is_random_in_evaluation(name: str) -> None:
    network = trained_network(name).eval()
    first, second = network(*positions(3)), network(*positions(3))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@every
def test_gradient_checkpointing_saves_memory_and_changes_nothing(name: str) -> None:
    """Also with dropout: what is computed again draws the same random numbers."""
    plain = trained_network(name)
    saving = trained_network(name, gradient_checkpointing=True)
    found = []
    for network in (plain, saving):
        torch.manual_seed(7)
        found.append(backward(network.train()))
    for parameter, gradient in found[0].items():
        assert torch.equal(found[1][parameter], gradient), parameter
    assert _saved_bytes(saving) < 0.7 * _saved_bytes(plain)


def _saved_bytes(network: nn.Module) -> int:
    """Count what the forward pass keeps for the backward pass."""
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(*positions(32))
    return total


@every
@pytest.mark.parametrize("checkpointing", [False, True])
def test_is_one_graph(name: str, checkpointing: bool) -> None:
    network = trained_network(name, gradient_checkpointing=checkpointing).eval()
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    for one, other in zip(network(*positions(3)), compiled(*positions(3)), strict=True):
        torch.testing.assert_close(one, other)


@every
def test_bfloat16_autocast_is_finite_and_near(name: str) -> None:
    network = trained_network(name).eval()
    targets = Targets(torch.arange(4), torch.tensor([0.0, 0.5, 1.0, 1.0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(*positions(4))
    losses = total_loss(outputs, targets, LossConfig())
    losses.total_B.mean().backward()
    exact = total_loss(network(*positions(4)), targets, LossConfig())
    assert losses.total_B.dtype == torch.float32
    torch.testing.assert_close(losses.total_B, exact.total_B, rtol=0.05, atol=0.05)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


@every
def test_sizes_survive_a_checkpoint(name: str, tmp_path: Path) -> None:
    network = trained_network(name)
    state = TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )
    loaded = load_checkpoint(save_checkpoint(tmp_path, state, {}))
    assert loaded.network.config == network.config
    assert loaded.network.config != ModelConfig(model_architecture=name)
    saved = network.state_dict()
    for key, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, saved[key]), key


@every
def test_onnx_equals_the_network_on_real_positions(name: str, tmp_path: Path) -> None:
    network = trained_network(name)
    path = tmp_path / "model.onnx"
    export_onnx(network, path, metadata={})
    for count in (1, 3, 256):
        assert verify_onnx(path, network, *positions(count)) < 1e-4
    sizes = {
        key.removeprefix("model."): value
        for key, value in OnnxModel(path).metadata.items()
        if key.startswith("model.")
    }
    assert sizes == {
        "model_architecture": name,
        "gradient_checkpointing": "False",
        **{key: str(value) for key, value in SMALL[name].items()},
    }
    assert any(isinstance(module, Foldable) for module in network.modules())


@every
def test_groups_are_the_whole_trunk(name: str) -> None:
    backbone = build_network(small_config(name)).backbone
    grouped = [id(p) for group in backbone.groups() for p in group.parameters()]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in backbone.trunk.parameters()}
    assert len(backbone.groups()) == 3
