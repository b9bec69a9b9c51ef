"""The pages in which a table is read: all rows, or ranges of the values of a column.

Names of data sets, tables and columns come from the command line and cannot be
parameters of a query: each must be one that cannot end the text that it is put in.
"""

import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from maou.errors import ConfigError

Value = str | int | date

_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,127}")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[\w -]{1,1024}")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")


@dataclass(frozen=True)
class TableName:
    """Which table: its names are checked, so they may stand in a query.

    Attributes:
        project: whose it is; empty for the project that pays.
        dataset, table: its names there.
    """

    project: str
    dataset: str
    table: str

    def path(self, project: str) -> str:
        """Write the full name, of a table in `project` where none was named."""
        return f"{self.project or project}.{self.dataset}.{self.table}"


def table_name(dataset: str, table: str, end: str = "input") -> TableName:
    """Check what names a table.

    Args:
        dataset: `dataset`, or `project.dataset`.
        table: the table.
        end: `input` or `output`, whichever flags name it.

    Raises:
        ConfigError: one is not a name.
    """
    project, _, last = dataset.rpartition(".")
    known = not project or _PROJECT.fullmatch(project)
    if not (known and _DATASET.fullmatch(last)):
        raise ConfigError(
            f"--{end}-dataset-id {dataset!r} is not a data set; give DATASET or "
            "PROJECT.DATASET (letters, digits and _)"
        )
    if not _TABLE.fullmatch(table):
        raise ConfigError(
            f"--{end}-table-name {table!r} is not a table; give its name in the data "
            "set (letters, digits, _, - and spaces)"
        )
    return TableName(project, last, table)


def check_column(flag: str, name: str) -> None:
    """Check what names a column.

    Raises:
        ConfigError: it is not a name.
    """
    if not _COLUMN.fullmatch(name):
        raise ConfigError(
            f"{flag} {name!r} is not a column (letters, digits and _ make its name)"
        )


@dataclass(frozen=True)
class Page:
    """Rows that are read together.

    Attributes:
        rows: how many.
        column: what they are chosen by; empty for all rows of the table.
        low, high: the least and the greatest value, both of the page; None for the
            rows without one.
    """

    rows: int
    column: str = ""
    low: Value | None = None
    high: Value | None = None

    @property
    def name(self) -> str:
        """Name the page for its shards, without slashes; empty for the whole table."""
        if not self.column:
            return ""
        if self.low is None:
            return "null"
        values = dict.fromkeys((str(self.low), str(self.high)))
        return "..".join(urllib.parse.quote(value, safe="") for value in values)

    @property
    def identity(self) -> tuple[str, ...]:
        """Tell it apart from all other pages."""
        return (self.column, repr(self.low), repr(self.high))

    def condition(self, low: str, high: str) -> str:
        """Write what its rows have in common, with texts for the values."""
        if not self.column:
            return ""
        if self.low is None:
            return f"`{self.column}` IS NULL"
        return f"`{self.column}` BETWEEN {low} AND {high}"

    def restriction(self) -> str:
        """Write that for the Storage API, which knows no parameters."""
        if self.low is None or self.high is None:
            return self.condition("", "")
        return self.condition(_literal(self.low), _literal(self.high))


def _literal(value: Value) -> str:
    """Write a value in SQL; what could end a text, or could not be seen, as numbers."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    plain = (c if c.isprintable() and c not in "'\\" else "" for c in value)
    signs = (p or f"\\U{ord(c):08x}" for p, c in zip(plain, value, strict=True))
    return f"'{''.join(signs)}'"


def group_values(
    column: str, counts: Iterable[tuple[Value | None, int]], target: int
) -> Iterator[Page]:
    """Join values that follow each other into pages of at most about `target` rows.

    Args:
        column: the column that they are of.
        counts: each value and its rows, in rising order; None may be anywhere.
        target: what a page should not exceed; one value is never divided.
    """
    low: Value | None = None
    high: Value | None = None
    rows = 0
    for value, count in counts:
        if value is None:
            yield Page(count, column)
            continue
        if rows and rows + count > target:
            yield Page(rows, column, low, high)
            rows = 0
        if not rows:
            low = value
        high = value
        rows += count
    if rows:
        yield Page(rows, column, low, high)
