"""The `mlp-mixer` backbone: perceptrons across the squares and across the channels.

Shapes: B batch, S 81 squares (row-major, a row a rank), C channels.
"""

from typing import Self

from torch import Tensor, nn

from maou.model.config import ModelConfig
from maou.model.linear import FeedForward
from maou.model.trunk import BlockTrunk
from maou.shogi.squares import N_SQUARES


class MlpMixer(BlockTrunk):
    """Mixer blocks (Tolstikhin et al. 2021), one square a token."""

    def __init__(
        self,
        channels: int,
        layers: int,
        token_hidden: int,
        mlp_ratio: float,
        dropout: float,
        *,
        checkpointing: bool,
    ) -> None:
        hidden = round(channels * mlp_ratio)
        blocks = (
            MixerBlock(channels, token_hidden, hidden, dropout) for _ in range(layers)
        )
        super().__init__(channels, blocks, checkpointing=checkpointing)

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Build it with the `--mixer-*` sizes."""
        return cls(
            config.mixer_embed_dim,
            config.mixer_num_layers,
            config.mixer_token_dim,
            config.mixer_mlp_ratio,
            config.mixer_dropout,
            checkpointing=config.gradient_checkpointing,
        )


class MixerBlock(nn.Module):
    """Mix the squares of each channel, then the channels of each square.

    Both add to what comes in, and at first they add nothing.
    """

    def __init__(
        self, channels: int, token_hidden: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(channels)
        self.token_mlp = FeedForward(N_SQUARES, token_hidden)
        self.channel_norm = nn.LayerNorm(channels)
        self.channel_mlp = FeedForward(channels, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C]."""
        planes_BCS = self.token_norm(squares_BSC).transpose(1, 2)
        mixed_BSC = self.token_mlp(planes_BCS).transpose(1, 2)
        squares_BSC = squares_BSC + self.dropout(mixed_BSC)
        made_BSC = self.channel_mlp(self.channel_norm(squares_BSC))
        changed_BSC: Tensor = squares_BSC + self.dropout(made_BSC)
        return changed_BSC
