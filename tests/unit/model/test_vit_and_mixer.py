"""What is particular to the transformer, the mixer and their linear layers."""

import pytest
import torch
from networks import small_config
from torch import nn

from maou.errors import ConfigError
from maou.model.config import ModelConfig
from maou.model.folding import fold
from maou.model.linear import NormalizedLinear
from maou.model.mlp_mixer import MlpMixer
from maou.model.network import build_network
from maou.model.vit import Attention, RelativeBias, VisionTransformer


def test_rows_of_a_matrix_have_the_length_of_the_gain() -> None:
    linear = NormalizedLinear(40, 30, gain=2.5)
    lengths = linear.matrix().detach().norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((30,), 2.5))


def test_gain_is_the_growth_of_the_signal() -> None:
    torch.manual_seed(0)
    x = torch.randn(4000, 256)
    assert 1.45 < NormalizedLinear(256, 128, gain=1.5)(x).std().item() < 1.55


def test_the_raw_scale_does_not_matter() -> None:
    linear = NormalizedLinear(9, 5, gain=1.0)
    before = linear.matrix()
    with torch.no_grad():
        linear.weight.mul_(41.0)
    torch.testing.assert_close(linear.matrix(), before)


def test_folding_changes_neither_results_nor_random_numbers() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(NormalizedLinear(3, 4, gain=1.3), nn.Tanh())
    nn.init.normal_(layers[0].bias)  # type: ignore[arg-type]
    x = torch.randn(2, 81, 3)
    before, state = layers(x), torch.get_rng_state()
    fold(layers)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(layers[0], nn.Linear)
    torch.testing.assert_close(layers(x), before)


@pytest.mark.parametrize(
    ("looking", "looked_at", "ranks", "files"),
    [(0, 0, 0, 0), (0, 80, 8, 8), (80, 0, -8, -8), (40, 31, -1, 0), (8, 9, 1, -8)],
)
def test_a_bias_belongs_to_a_difference_in_ranks_and_files(
    looking: int, looked_at: int, ranks: int, files: int
) -> None:
    """Squares are numbered along the ranks: 9 * rank + file."""
    bias = RelativeBias(2)
    with torch.no_grad():
        bias.bias_by_difference[1, (ranks + 8) * 17 + files + 8] = 3.0
    scores = bias()
    assert scores.shape == (1, 2, 81, 81)
    assert scores[0, 1, looking, looked_at] == 3.0
    pairs = (9 - abs(ranks)) * (9 - abs(files))
    assert scores.count_nonzero() == pairs


def test_attention_is_the_textbook_formula() -> None:
    """softmax(q k / sqrt(d) + bias) v, written out, with q and k of RMS 1."""
    torch.manual_seed(0)
    channels, heads = 12, 3
    attention = Attention(channels, heads).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 81, channels, dtype=torch.float64)
    joint = attention.query_key_value(x).view(2, 81, 3, heads, channels // heads)
    mixed = torch.empty(2, 81, channels, dtype=torch.float64)
    eps = torch.finfo(torch.float64).eps  # what rms_norm adds by default
    for head in range(heads):
        query, key, value = joint[:, :, :, head].unbind(2)
        query = query / (query.square().mean(-1, keepdim=True) + eps).sqrt()
        key = key / (key.square().mean(-1, keepdim=True) + eps).sqrt()
        query, key = query * attention.query_gain, key * attention.key_gain
        scores = query @ key.transpose(1, 2) / (channels // heads) ** 0.5
        scores = scores + attention.relative_bias()[0, head]
        mixed[:, :, head * 4 : head * 4 + 4] = scores.softmax(dim=-1) @ value
    torch.testing.assert_close(attention(x), attention.output(mixed))


def test_defaults_of_vit_are_those_of_the_specification() -> None:
    config = ModelConfig()
    assert config.vit_embed_dim == 512
    assert config.vit_num_layers == 6
    assert config.vit_num_heads == 8
    assert config.vit_mlp_ratio == 4.0
    assert config.vit_dropout == 0.1


def test_sizes_reach_the_vit() -> None:
    trunk = build_network(small_config("vit")).backbone.trunk
    assert isinstance(trunk, VisionTransformer)
    assert trunk.channels == 24
    block = trunk.blocks[0]
    assert block.mlp.inner.weight.shape == (60, 24)  # type: ignore[union-attr]
    assert block.attention.relative_bias.bias_by_difference.shape == (3, 289)  # type: ignore[union-attr]
    assert {m.p for m in trunk.modules() if isinstance(m, nn.Dropout)} == {0.2}


def test_sizes_reach_the_mixer() -> None:
    trunk = build_network(small_config("mlp-mixer")).backbone.trunk
    assert isinstance(trunk, MlpMixer)
    block = trunk.blocks[0]
    assert block.token_mlp.inner.weight.shape == (20, 81)  # type: ignore[union-attr]
    assert block.channel_mlp.inner.weight.shape == (84, 24)  # type: ignore[union-attr]
    assert {m.p for m in trunk.modules() if isinstance(m, nn.Dropout)} == {0.2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model_architecture": "vit", "vit_embed_dim": 100},
            "--vit-embed-dim 100 is not a multiple of --vit-num-heads 8",
        ),
        ({"vit_dropout": 1.0}, "--vit-dropout: 1.0 is out of range"),
        ({"vit_num_layers": 0}, "--vit-num-layers: 0 is out of range"),
        ({"vit_mlp_ratio": 0.0}, "--vit-mlp-ratio: 0.0 is out of range"),
        ({"mixer_token_dim": 0}, "--mixer-token-dim: 0 is out of range"),
        (
            {"model_architecture": "mlp-mixer", "mixer_mlp_ratio": 0.001},
            "--mixer-mlp-ratio times --mixer-embed-dim is 0.384",
        ),
        ({"model_architecture": "vti"}, "Did you mean vit?"),
        ({"model_architecture": "MLP mixr"}, "Did you mean mlp-mixer?"),
    ],
)
def test_sizes_that_cannot_be_meant(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig(**settings)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["ViT", "MLP-Mixer", "mlp_mixer", "ResNet"])
def test_names_ignore_case(name: str) -> None:
    ModelConfig(model_architecture=name)
