"""Names that may stand in a query, and pages of a table."""

import itertools
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.errors import ConfigError
from maou.sources.bigquery_pages import Page, TableName, group_values, table_name


def test_names():
    assert table_name("d", "t x-1") == TableName("", "d", "t x-1")
    found = table_name("example.com:p-1.d", "表")
    assert found.path("other") == "example.com:p-1.d.表"
    assert table_name("d", "t").path("other") == "other.d.t"


@pytest.mark.parametrize(
    ("dataset", "table"),
    [("", "t"), ("a-b", "t"), ("p`.d", "t"), ("d", ""), ("d", "a.b"), ("d", "a`b")],
)
def test_what_is_no_name(dataset, table):
    with pytest.raises(ConfigError, match="--input-"):
        table_name(dataset, table)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.integers(1, 60),
    st.booleans(),
)
def test_pages_cover_all_values_once(counts, target, with_nulls):
    values = [(number, count) for number, count in enumerate(counts)]
    nulls = [(None, 7)] if with_nulls else []
    pages = list(group_values("c", [*nulls, *values], target))
    if with_nulls:
        assert pages.pop(0) == Page(7, "c")
    covered = []
    for page in pages:
        inside = counts[page.low : page.high + 1]
        assert page.rows == sum(inside)
        assert page.rows <= target or page.low == page.high
        covered += range(page.low, page.high + 1)
    assert covered == list(range(len(counts)))
    for one, two in itertools.pairwise(pages):
        assert one.rows + counts[two.low] > target, "no page could be larger"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (Page(1), ""),
        (Page(1, "c"), "`c` IS NULL"),
        (Page(1, "c", 1, 20), "`c` BETWEEN 1 AND 20"),
        (
            Page(1, "c", date(2025, 1, 2), date(2025, 1, 3)),
            "`c` BETWEEN DATE '2025-01-02' AND DATE '2025-01-03'",
        ),
        (
            Page(1, "c", "a 飛", "' OR \\x\n"),
            r"`c` BETWEEN 'a 飛' AND '\U00000027 OR \U0000005cx\U0000000a'",
        ),
    ],
)
def test_conditions(page, text):
    assert page.restriction() == text


def test_names_of_pages_have_no_slash():
    assert Page(1).name == ""
    assert Page(1, "c").name == "null"
    assert Page(1, "c", 3, 3).name == "3"
    assert Page(1, "c", "a/b", "..").name == "a%2Fb...."
