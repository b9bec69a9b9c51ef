"""Settings of the converters."""

import re
from dataclasses import dataclass
from pathlib import Path

from maou.errors import ConfigError
from maou.settings import REQUIRED, setting
from maou.sources.choosing import require_choice
from maou.sources.config import InputConfig

INPUT_FORMATS = ("auto", "csa", "kif", "ki2")

END_TOKENS = (
    "%TORYO",
    "%TSUMI",
    "%TIME_UP",
    "%ILLEGAL_MOVE",
    "%+ILLEGAL_ACTION",
    "%-ILLEGAL_ACTION",
    "%KACHI",
    "%SENNICHITE",
    "%JISHOGI",
    "%HIKIWAKE",
    "%MAX_MOVES",
    "%FUSEN",
    "%CHUDAN",
)
"""How a converted game can have ended, in CSA's names; `%FUSEN` (a player did not play
on, KIF's 不戦敗) is ours, since CSA has no name for it."""

_EXCLUDED = re.compile(
    r"[1-9]\d{0,4}(-[1-9]\d{0,4})?|[1-9][a-i][1-9][a-i]\+?|[PLNSGBR]\*[1-9][a-i]"
)

_GAMES, _FILTERS, _OUTPUT = "Games", "Which games and positions", "Output"


@dataclass(frozen=True, kw_only=True)
class HcpeConvertConfig(InputConfig):
    """Everything `maou hcpe-convert` can be told."""

    input_path: Path | None = setting(
        None,
        "A game file, or a folder that is searched with its subfolders for .csa, "
        ".kif, .kifu, .ki2 and .ki2u files.",
        _GAMES,
        metavar="PATH",
    )
    output_dir: Path = setting(
        REQUIRED,
        "Folder for the shards and the report of rejected games; created when missing.",
        _OUTPUT,
    )
    input_format: str = setting(
        "auto",
        "Format of the games. auto goes by each file's suffix, then by its content.",
        _GAMES,
        choices=INPUT_FORMATS,
    )
    min_rating: int | None = setting(
        None,
        "Keep only games in which both players' ratings are known and at least this.",
        _FILTERS,
        minimum=0,
    )
    min_moves: int | None = setting(
        None, "Keep only games of at least this many moves.", _FILTERS, minimum=1
    )
    max_moves: int | None = setting(
        None, "Keep only games of at most this many moves.", _FILTERS, minimum=1
    )
    allowed_endgame_status: tuple[str, ...] = setting(
        (),
        "Keep only games that ended in one of these ways, in CSA's names, such as "
        "%TORYO or %KACHI.",
        _FILTERS,
        shown_default="all",
        metavar="TOKEN",
    )
    exclude_moves: tuple[str, ...] = setting(
        (),
        "Leave out the positions in which these moves were played: a move number such "
        "as 1, a range of numbers such as 1-20, or a move in USI such as 7g7f. The "
        "rest of the game stays.",
        _FILTERS,
        metavar="MOVE",
    )
    output_format: str = setting(
        "feather",
        "Container of the shards. feather and npy keep the game of each position, its "
        "date and ratings; hcpe is the 38-byte format of dlshogi.",
        _OUTPUT,
        choices=("feather", "npy", "hcpe"),
    )
    shard_rows: int | None = setting(
        None,
        "Most positions in a shard. A game is never split between shards.",
        _OUTPUT,
        minimum=1,
        shown_default="500000; fewer for hcpe, so that there are several shards",
    )
    workers: int | None = setting(
        None,
        "Processes that convert; 0 converts in the command's own process. The output "
        "is the same for any number.",
        _OUTPUT,
        minimum=0,
        shown_default="number of cores",
    )

    def check(self) -> None:
        """Normalise end tokens and check what concerns several fields.

        Raises:
            ConfigError: not one input, contradicting limits, an unknown end token or
                move.
        """
        require_choice(self, "a game file or a folder of them")
        if (self.min_moves or 0) > (self.max_moves or 1 << 30):
            raise ConfigError(
                f"--min-moves {self.min_moves} is above --max-moves {self.max_moves}: "
                "no game would be kept"
            )
        tokens = tuple(_end_token(text) for text in self.allowed_endgame_status)
        object.__setattr__(self, "allowed_endgame_status", tokens)
        for text in self.exclude_moves:
            if not _EXCLUDED.fullmatch(text):
                raise ConfigError(
                    f"--exclude-moves: {text!r} is neither a move number (12), nor a "
                    "range of numbers (1-20), nor a move in USI (7g7f, 8h2b+, P*5e)"
                )


def _end_token(text: str) -> str:
    token = "%" + text.upper().removeprefix("%")
    if token not in END_TOKENS:
        raise ConfigError(
            f"--allowed-endgame-status: {text!r} is not one of {', '.join(END_TOKENS)}"
        )
    return token
