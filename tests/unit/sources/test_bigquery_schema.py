"""The columns of our tables, and what differs from them."""

from dataclasses import replace

import pytest

from maou.sources.bigquery_schema import (
    DENSE_COLUMNS,
    HCPE_COLUMNS,
    PACKED_COLUMNS,
    Column,
    column_of,
    columns_of,
    differences,
)

ALL = (HCPE_COLUMNS, PACKED_COLUMNS, DENSE_COLUMNS)


@pytest.mark.parametrize("columns", ALL)
def test_a_table_made_of_them_fits(columns):
    found = [column_of(column.as_field()) for column in columns]
    for column, other in zip(columns, found, strict=True):
        assert replace(other, needed=column.needed) == column
    assert differences(columns, found) == []
    others = [Column("more", "JSON"), *reversed(found)]
    assert differences(columns, others) == []


def test_differing_columns_are_listed():
    moves = "ARRAY<STRUCT<label INT64, count INT64, wins INT64>>"
    found = [
        Column("HCP", "STRING"),
        Column("count", "INT64"),
        Column("moves", "STRUCT", parts=PACKED_COLUMNS[2].parts[:2]),
    ]
    assert differences(PACKED_COLUMNS, found) == [
        "hcp: expected BYTES, found STRING",
        f"moves: expected {moves}, found STRUCT<label INT64, count INT64>",
    ]
    assert differences(HCPE_COLUMNS, found)[1:] == [
        "eval: expected INT64, found nothing",
        "bestMove16: expected INT64, found nothing",
        "gameResult: expected INT64, found nothing",
        "moves: expected INT64, found STRUCT<label INT64, count INT64>",
    ]


def test_formats():
    assert columns_of("hcpe", True) is HCPE_COLUMNS
    assert columns_of("preprocess", True) is PACKED_COLUMNS
    assert columns_of("preprocess", False) is DENSE_COLUMNS
