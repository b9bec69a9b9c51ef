"""The names, types and meanings of our own ONNX models, for writer and reader."""

from typing import NamedTuple

from maou.shogi.labels import LABEL_SCHEME, N_LABELS


class Port(NamedTuple):
    """One input or output; the batch axis comes before `shape`."""

    kind: str
    shape: tuple[int, ...]
    meaning: str

    def describe(self) -> str:
        """Show type and shape, for example `uint8 [batch, 14]`."""
        return f"{self.kind} [{', '.join(['batch', *map(str, self.shape)])}]"


INPUTS = {
    "board": Port(
        "uint8",
        (9, 9),
        "piece ids seen from the side to move (with white to move the board is "
        "rotated by 180 degrees and own and opponent are swapped); row = rank, a "
        "first; column = file - 1; 0 empty; own 1 pawn, 2 lance, 3 knight, 4 silver, "
        "5 gold, 6 bishop, 7 rook, 8 king, 9 +pawn, 10 +lance, 11 +knight, 12 "
        "+silver, 13 horse, 14 dragon; the opponent's + 14",
    ),
    "hand": Port(
        "uint8",
        (14,),
        "pieces in hand, own seven then the opponent's: pawn, lance, knight, silver, "
        "gold, bishop, rook",
    ),
}

OUTPUTS = {
    "policy": Port(
        "float",
        (N_LABELS,),
        "raw logits of the move labels, no softmax, illegal moves not masked",
    ),
    "value": Port("float", (), "win probability of the side to move, 0..1"),
}

LABELS_KEY = "maou.labels"
"""Metadata key of the label scheme; a reader refuses any other scheme."""

SETTINGS_KEY = "training.settings"
"""Metadata key of the run's loss and data settings (JSON), where they are known."""


def interface_metadata() -> dict[str, str]:
    """Say in words what goes in and comes out, for the model's metadata."""
    ports = {"input": INPUTS, "output": OUTPUTS}
    said = {
        f"{side}.{name}": f"{port.describe()}: {port.meaning}"
        for side, named in ports.items()
        for name, port in named.items()
    }
    return {LABELS_KEY: LABEL_SCHEME, **said}
