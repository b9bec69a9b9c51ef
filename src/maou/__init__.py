"""maou trains policy/value neural networks for shogi from game records."""

__version__ = "0.1.0"
