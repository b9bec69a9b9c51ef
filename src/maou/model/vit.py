"""The `vit` backbone: a transformer whose tokens are the 81 squares.

Shapes: B batch, S 81 squares (row-major, a row a rank), C channels, N heads, D channels
of a head.

What stands where and what is in hand is in every token when it comes in
(`embedding.py`). Each head also learns how much a square minds another by their
difference in ranks and files, which is how shogi's pieces move.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from maou.model.config import ModelConfig
from maou.model.linear import FeedForward, NormalizedLinear
from maou.model.trunk import BlockTrunk
from maou.shogi.squares import N_SQUARES

_SIDE = 9
_REACH = 2 * _SIDE - 1  # differences -8 .. 8


class VisionTransformer(BlockTrunk):
    """Pre-norm encoder blocks (Dosovitskiy et al. 2021), one square a token."""

    def __init__(
        self,
        channels: int,
        layers: int,
        heads: int,
        mlp_ratio: float,
        dropout: float,
        *,
        checkpointing: bool,
    ) -> None:
        hidden = round(channels * mlp_ratio)
        blocks = (EncoderBlock(channels, heads, hidden, dropout) for _ in range(layers))
        super().__init__(channels, blocks, checkpointing=checkpointing)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Build it with the `--vit-*` sizes."""
        return cls(
            config.vit_embed_dim,
            config.vit_num_layers,
            config.vit_num_heads,
            config.vit_mlp_ratio,
            config.vit_dropout,
            checkpointing=config.gradient_checkpointing,
        )


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); at first the identity."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C]."""
        seen_BSC = self.attention(self.attention_norm(squares_BSC))
        squares_BSC = squares_BSC + self.dropout(seen_BSC)
        made_BSC = self.mlp(self.mlp_norm(squares_BSC))
        changed_BSC: Tensor = squares_BSC + self.dropout(made_BSC)
        return changed_BSC


class Attention(nn.Module):
    """Every square looks at every square.

    Queries and keys are normalised (Dehghani et al. 2023, "Scaling Vision Transformers
    to 22 Billion Parameters", section 2), so that no learning rate drives the scores
    to where the softmax has no gradient.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        width = channels // heads
        self.query_key_value = NormalizedLinear(channels, 3 * channels, gain=1.0)
        self.query_gain = nn.Parameter(torch.ones(width))
        self.key_gain = nn.Parameter(torch.ones(width))
        self.relative_bias = RelativeBias(heads)
        self.output = NormalizedLinear(channels, channels, gain=0.0)

    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C]."""
        batch, squares, channels = squares_BSC.shape
        width = channels // self._heads
        joint = self.query_key_value(squares_BSC)
        joint = joint.view(batch, squares, 3, self._heads, width)
        query_BNSD, key_BNSD, value_BNSD = joint.permute(2, 0, 3, 1, 4)
        mixed_BNSD = scaled_dot_product_attention(
            _normalized(query_BNSD, self.query_gain),
            _normalized(key_BNSD, self.key_gain),
            value_BNSD,
            attn_mask=self.relative_bias(),
        )
        mixed_BSC = mixed_BNSD.transpose(1, 2).reshape(batch, squares, channels)
        given: Tensor = self.output(mixed_BSC)
        return given


def _normalized(vectors: Tensor, gain_D: Tensor) -> Tensor:
    # Under autocast the vectors are bf16: the fused norm wants a gain of their type.
    return rms_norm(vectors, gain_D.shape, gain_D.to(vectors.dtype))


class RelativeBias(nn.Module):
    """A score a head for each difference between two squares (Liu et al. 2021, Swin).

    289 learned numbers a head instead of one for each of the 6561 pairs: what is learnt
    of "two ranks ahead" holds everywhere.
    """

    index_SS: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.bias_by_difference = nn.Parameter(torch.zeros(heads, _REACH**2))
        square_S = torch.arange(N_SQUARES)
        rank_S, file_S = square_S // _SIDE, square_S % _SIDE
        rank_SS = rank_S[None, :] - rank_S[:, None] + _SIDE - 1
        file_SS = file_S[None, :] - file_S[:, None] + _SIDE - 1
        index_SS = rank_SS * _REACH + file_SS
        self.register_buffer("index_SS", index_SS, persistent=False)

    def forward(self) -> Tensor:
        """Give what is added to the scores of (looking, looked at), [1, N, S, S]."""
        return self.bias_by_difference[:, self.index_SS].unsqueeze(0)
