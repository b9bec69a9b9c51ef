"""The tables that hold our records in BigQuery: their columns, in one place.

Those who read a table and those who write one use the same columns. Imports no SDK.

BigQuery has one type of whole numbers, INT64. The dense form's `id`, an unsigned hash,
is kept as the signed number of the same 64 bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maou.sources.config import HCPE


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name; BigQuery does not tell capitals from small letters.
        kind: its type in SQL, or that of its elements; `STRUCT` has `parts`.
        repeated: whether it is an array.
        needed: whether a table without it is refused.
        parts: the fields of a STRUCT.
    """

    name: str
    kind: str
    repeated: bool = False
    needed: bool = True
    parts: tuple["Column", ...] = ()

    @property
    def sql(self) -> str:
        """Write the type as SQL does, such as ARRAY<INT64>."""
        kind = self.kind
        if self.parts:
            kind = f"STRUCT<{', '.join(f'{p.name} {p.sql}' for p in self.parts)}>"
        return f"ARRAY<{kind}>" if self.repeated else kind

    def as_field(self) -> dict[str, Any]:
        """Describe it as BigQuery's REST interface and its SDK do."""
        mode = "REQUIRED" if self.needed else "NULLABLE"
        field: dict[str, Any] = {
            "name": self.name,
            "type": "RECORD" if self.parts else self.kind,
            "mode": "REPEATED" if self.repeated else mode,
        }
        if self.parts:
            field["fields"] = [part.as_field() for part in self.parts]
        return field


HCPE_COLUMNS = (
    Column("hcp", "BYTES"),
    Column("eval", "INT64"),
    Column("bestMove16", "INT64"),
    Column("gameResult", "INT64"),
    Column("id", "STRING", needed=False),
    Column("partitioningKey", "DATE", needed=False),
    Column("ratings", "INT64", repeated=True, needed=False),
    Column("endgameStatus", "STRING", needed=False),
    Column("moves", "INT64", needed=False),
)
"""Positions of games. `hcp` has 32 bytes; `ratings` are black's and white's."""

ADDING_UP_COLUMNS = (
    Column("gameKey", "INT64"),
    Column("positionCode", "BYTES"),
    Column("moveLabel", "INT64"),
    Column("points", "INT64"),
)
"""What maou adds to the positions of games it loads, so that SQL can add them up: the
64 bits that the split knows the game by; the position's code with the side to move as
black; the move's label; and the half points it scored (2 won, 1 drawn, 0 lost)."""

SIDE = Column("side", "STRING", needed=False)
"""`train` or `validation`: the side that pre-process put a position on."""

PACKED_COLUMNS = (
    Column("hcp", "BYTES"),
    Column("count", "INT64"),
    Column(
        "moves",
        "STRUCT",
        repeated=True,
        parts=(
            Column("label", "INT64"),
            Column("count", "INT64"),
            Column("wins", "INT64"),
        ),
    ),
    SIDE,
)
"""Packed preprocess records: `moves` has rising labels, and wins in half points."""

DENSE_COLUMNS = (
    Column("id", "INT64"),
    Column("boardIdPositions", "INT64", repeated=True),
    Column("piecesInHand", "INT64", repeated=True),
    Column("moveLabel", "FLOAT64", repeated=True),
    Column("resultValue", "FLOAT64"),
    Column("count", "INT64"),
    Column("moveWinRate", "FLOAT64", repeated=True),
    SIDE,
)
"""Dense preprocess records: 81, 14, 1496 and 1496 elements in their arrays."""


def columns_of(input_format: str, packed: bool) -> tuple[Column, ...]:
    """Give the columns of a kind of record.

    Args:
        input_format: `hcpe` or `preprocess`.
        packed: which of the two forms of preprocess records.
    """
    if input_format == HCPE:
        return HCPE_COLUMNS
    return PACKED_COLUMNS if packed else DENSE_COLUMNS


_OTHER_NAMES = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}
"""What REST calls the types, beside their names in SQL."""


def column_of(field: Mapping[str, Any]) -> Column:
    """Read a column as BigQuery's REST interface describes it."""
    kind = field["type"].upper()
    mode = field.get("mode", "NULLABLE").upper()
    return Column(
        field["name"],
        _OTHER_NAMES.get(kind, kind),
        repeated=mode == "REPEATED",
        needed=mode == "REQUIRED",
        parts=tuple(column_of(part) for part in field.get("fields", ())),
    )


def in_words(kind: str) -> str:
    """Name what BigQuery calls a kind of table, such as `MATERIALIZED_VIEW`."""
    words = kind.lower().replace("_", " ")
    return "an external table" if words == "external" else f"a {words}"


def differences(wanted: Sequence[Column], found: Sequence[Column]) -> list[str]:
    """Say in what a table differs from what we need; empty where nothing does.

    Args:
        wanted: our columns. Others in the table do not matter, nor does their order.
        found: the table's.

    Returns:
        For each column its name, the expected type and the one found.
    """
    by_name = {column.name.lower(): column for column in found}
    texts = []
    for column in wanted:
        other = by_name.get(column.name.lower())
        if other is None:
            if column.needed:
                texts.append(f"{column.name}: expected {column.sql}, found nothing")
        elif not _is_alike(column, other):
            texts.append(f"{column.name}: expected {column.sql}, found {other.sql}")
    return texts


def _is_alike(column: Column, other: Column) -> bool:
    if (column.kind, column.repeated) != (other.kind, other.repeated):
        return False
    return not differences(column.parts, other.parts)
