"""Game keys equal a plain FNV-1a, in every container and whatever the text."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.records.containers import open_hcpe_shard
from maou.records.game_ids import keys_of_arrow_text, keys_of_fixed_text
from shard_files import CONTAINERS

GOLDEN = {
    "selfplay-000.csa:17_42": 0x03EA10FD3590A05B,
    "game_1": 0x8ADAA57204312527,
    "game_204": 0x8ADAA57204312527,
    "wdoor+floodgate-300-10F+20240101/80": 0x052BFCB9934EDB47,
    "2024-0001": 0x18371E0B3585C299,
    "12345": 0xE575E8883C0F89F8,
    "対局一_7": 0xA460CBEA1B3447EB,
    "abc": 0xE71FA2190541574B,
    "": 0xCBF29CE484222325,
}
"""Computed once from the definition: a change splits users' data anew."""


def game_of(text: str) -> bytes:
    """Cut the ply and one separating byte off an id in UTF-8, as defined."""
    data = text.encode()
    stem = data.rstrip(b"0123456789")
    if stem == data:
        return data
    return stem[:-1] or data


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def test_fnv1a_is_the_published_function() -> None:
    """Test vectors of the FNV reference code."""
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a(b"foobar") == 0x85944171F73967E8


def keys_in_every_form(ids: list[str]) -> list[list[int]]:
    keys = [
        keys_of_fixed_text(np.array(ids, dtype=np.str_)),
        keys_of_fixed_text(np.array([text.encode() for text in ids], dtype=np.bytes_)),
        keys_of_arrow_text(pa.array(ids, pa.string())),
        keys_of_arrow_text(pa.array(ids, pa.large_string())),
        keys_of_arrow_text(pa.array(["x", *ids, "y"], pa.string())[1:-1]),
    ]
    return [form.tolist() for form in keys]


def test_keys_never_change() -> None:
    expected = [fnv1a(game_of(text)) for text in GOLDEN]
    assert expected == list(GOLDEN.values())
    for keys in keys_in_every_form(list(GOLDEN)):
        assert keys == expected


TEXTS = st.text(  # numpy cannot tell a final NUL from padding
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=20
)


@given(st.lists(st.one_of(TEXTS, st.from_regex(r"\A\w{0,8}[_:-]?[0-9]{0,4}\Z"))))
def test_any_text_gives_the_plain_definition_in_every_form(ids: list[str]) -> None:
    expected = [fnv1a(game_of(text)) for text in ids]
    for keys in keys_in_every_form(ids):
        assert keys == expected


@given(TEXTS.filter(bool), st.sampled_from("_-:/.# "), st.integers(0, 9999))
def test_plies_of_a_game_share_a_key(game: str, separator: str, ply: int) -> None:
    ids = [f"{game}{separator}{ply}", f"{game}{separator}{ply + 1}"]
    for keys in keys_in_every_form(ids):
        assert keys[0] == keys[1]


def test_games_whose_names_look_alike_differ() -> None:
    ids = ["a1_7", "a2_7", "a_1_7", "11_1", "1_11", "１_1", "111", "a1-_7", "A1_7"]
    keys = keys_in_every_form(ids)[0]
    assert len(set(keys)) == len(ids)


@pytest.mark.parametrize(
    "name", sorted(name for name in CONTAINERS if CONTAINERS[name].has_ids)
)
def test_the_same_ids_have_the_same_keys_in_every_container(
    name: str, distinct_rows: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    ids = ["対局一_7", "対局一_8", "12345", "g_1", "g_2", "longer-name-of-a-game_300"]
    path = tmp_path / f"shard{CONTAINERS[name].suffix}"
    CONTAINERS[name].write(path, distinct_rows[: len(ids)], ids, (2, 5))
    keys = open_hcpe_shard(path).game_keys(0, len(ids)).tolist()
    assert keys == [fnv1a(game_of(text)) for text in ids]
