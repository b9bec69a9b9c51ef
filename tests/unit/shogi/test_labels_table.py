"""The label table by itself: sizes, order, and the mirror."""

import numpy as np

from maou.shogi.labels import (
    CLASSES,
    LABEL_BOARD_INDEX,
    LABEL_CLASS,
    LABEL_SQUARE,
    MIRROR_LABEL,
    MOVE_LABEL,
    N_LABELS,
)

SIZES = {
    "up": 72,
    "up-left": 64,
    "up-right": 64,
    "left": 72,
    "right": 72,
    "down": 72,
    "down-left": 64,
    "down-right": 64,
    "knight-left": 40,
    "knight-right": 40,
    "promote up": 27,
    "promote up-left": 24,
    "promote up-right": 24,
    "promote left": 24,
    "promote right": 24,
    "promote down": 72,
    "promote down-left": 49,
    "promote down-right": 49,
    "promote knight-left": 24,
    "promote knight-right": 24,
    "drop P": 72,
    "drop L": 72,
    "drop N": 63,
    "drop S": 81,
    "drop G": 81,
    "drop B": 81,
    "drop R": 81,
}
"""The specification's table."""


def test_categories_have_the_specified_order_and_sizes() -> None:
    assert list(SIZES) == list(CLASSES)
    assert np.bincount(LABEL_CLASS).tolist() == list(SIZES.values())
    assert sum(SIZES.values()) == N_LABELS == 1496


def test_labels_run_by_class_and_rising_square() -> None:
    place = LABEL_CLASS * 81 + LABEL_SQUARE
    assert (np.diff(place) > 0).all()


def test_board_indices_are_row_major() -> None:
    for label in range(N_LABELS):
        file, rank = divmod(int(LABEL_SQUARE[label]), 9)
        assert LABEL_BOARD_INDEX[label] == 9 * rank + file


def test_every_label_is_some_move_and_every_move_has_a_known_label() -> None:
    used = MOVE_LABEL[MOVE_LABEL >= 0]
    assert set(used.tolist()) == set(range(N_LABELS))
    assert MOVE_LABEL.min() == -1


def test_mirror_is_an_involution_that_keeps_class_sizes() -> None:
    assert (MIRROR_LABEL[MIRROR_LABEL] == np.arange(N_LABELS)).all()
    assert sorted(MIRROR_LABEL.tolist()) == list(range(N_LABELS))
    fixed = np.flatnonzero(np.arange(N_LABELS) == MIRROR_LABEL)
    assert (LABEL_SQUARE[fixed] // 9 == 4).all(), "only the middle file stays"
    swaps = {"left": "right", "right": "left"}
    for label, twin in enumerate(MIRROR_LABEL):
        words = CLASSES[LABEL_CLASS[label]].replace("-", " - ").split(" ")
        expected = " ".join(swaps.get(word, word) for word in words)
        assert CLASSES[LABEL_CLASS[twin]] == expected.replace(" - ", "-")
