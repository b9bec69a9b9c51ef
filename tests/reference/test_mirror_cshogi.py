"""Mirrored samples against positions mirrored as text and coded by cshogi."""

import re

import cshogi
import numpy as np
import numpy.typing as npt

from maou.shogi.samples import Samples, decode_samples, mirror_samples

STEP = 3  # 18,479 of 55,437 positions


def mirrored_sfen(sfen: str) -> str:
    """Exchange files 1..9 and 9..1 in an sfen."""
    board, *rest = sfen.split(" ")
    ranks = [
        "".join(reversed(re.findall(r"\d|\+?[A-Za-z]", rank)))
        for rank in board.split("/")
    ]
    return " ".join(["/".join(ranks), *rest])


def mirrored_usi(usi: str) -> str:
    """Exchange files in a move: every digit is a file."""
    return re.sub(r"\d", lambda digit: str(10 - int(digit[0])), usi)


def mirrored_rows(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Build the mirrored hcpe records through sfen and USI in cshogi."""
    board = cshogi.Board()
    code = np.zeros(1, dtype=cshogi.HuffmanCodedPos)
    twins = rows.copy()
    for row in twins:
        board.set_hcp(row[:32])
        usi = cshogi.move_to_usi(
            board.move_from_move16(int(row[34]) | int(row[35]) << 8)
        )
        board.set_sfen(mirrored_sfen(board.sfen()))
        move = board.move_from_usi(mirrored_usi(usi))
        assert board.is_legal(move)
        board.to_hcp(code)
        row[:32] = code["hcp"][0]
        row[34:36] = np.array([cshogi.move16(move)], dtype="<u2").view(np.uint8)
    return twins


def assert_same(left: Samples, right: Samples) -> None:
    for ours, expected in zip(left, right, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_mirroring_a_sample_is_decoding_the_mirrored_position(
    selfplay_rows: npt.NDArray[np.uint8],
) -> None:
    rows = selfplay_rows[::STEP]
    samples = decode_samples(rows)
    mirror_samples(samples, np.ones(len(rows), dtype=np.bool_))
    assert_same(samples, decode_samples(mirrored_rows(rows)))


def test_mirroring_twice_changes_nothing(
    selfplay_rows: npt.NDArray[np.uint8],
) -> None:
    samples = decode_samples(selfplay_rows)
    all_of_them = np.ones(len(selfplay_rows), dtype=np.bool_)
    mirror_samples(samples, all_of_them)
    once = samples.board_BS.copy()
    mirror_samples(samples, all_of_them)
    assert_same(samples, decode_samples(selfplay_rows))
    assert (once != samples.board_BS).any(axis=1).mean() > 0.99


def test_only_the_chosen_samples_are_mirrored(
    selfplay_rows: npt.NDArray[np.uint8],
) -> None:
    rows = selfplay_rows[:1000]
    chosen = np.arange(1000) % 3 == 0
    samples = decode_samples(rows)
    mirror_samples(samples, chosen)
    assert_same(
        samples, decode_samples(np.where(chosen[:, None], mirrored_rows(rows), rows))
    )
