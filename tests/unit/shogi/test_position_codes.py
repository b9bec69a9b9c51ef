"""Position codes of arbitrary and of damaged positions, against plain definitions."""

from random import Random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maou.shogi.hcp import (
    BAD_CODE,
    BAD_COUNT,
    BAD_KING,
    VALID,
    decode_hcp,
    encode_hcp,
)
from maou.shogi.samples import (
    BAD_MOVE,
    BAD_RESULT,
    SAMPLE_STATUS_TEXT,
    decode_samples,
    empty_samples,
)

START = bytes.fromhex(
    "58a449210cd757217e8e4d212caf427814c2ab109e4d212cd75f213e8e49210c"
)
"""The start position's code, from the specification of the format."""

BOARD_CODES = {
    "P": "1000",
    "L": "110000",
    "N": "111000",
    "S": "110100",
    "G": "111100",
    "B": "11111000",
    "R": "11111100",
}
"""Black, unpromoted; bits in the order in which they are stored. The colour bit is the
last but one and the promotion bit the last; gold has only a colour bit, the last."""

HAND_CODES = {
    "P": "000",
    "L": "10000",
    "N": "11000",
    "S": "10100",
    "G": "11100",
    "B": "1111100",
    "R": "1111110",
}
"""Black's; the colour bit is the last."""

KINDS = "PLNSGBR"
COUNTS = dict(zip(KINDS, (18, 4, 4, 4, 4, 2, 2), strict=True))
PROMOTED_IDS = {"P": 9, "L": 10, "N": 11, "S": 12, "B": 13, "R": 14}


class Position(NamedTuple):
    """A position as lists: what lies where, own view for black to move."""

    turn: int
    kings: tuple[int, int]
    pieces: dict[int, tuple[str, int, int]]
    """Square to (kind, white, promoted)."""
    hands: dict[tuple[int, str], int]


def code_of(position: Position) -> bytes:
    """Code a position bit by bit, straight from the description of the format."""
    bits = str(position.turn)
    for king in position.kings:
        bits += f"{king:07b}"[::-1]
    for square in range(81):
        if square in position.kings:
            continue
        if square not in position.pieces:
            bits += "0"
            continue
        kind, white, promoted = position.pieces[square]
        code = BOARD_CODES[kind]
        tail = str(white) if kind == "G" else f"{white}{promoted}"
        bits += code[: len(code) - len(tail)] + tail
    for white in (0, 1):
        for kind in KINDS:
            count = position.hands.get((white, kind), 0)
            bits += (HAND_CODES[kind][:-1] + str(white)) * count
    bits = bits[:256].ljust(256, "0")
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, 256, 8))


def arrays_of(position: Position) -> tuple[list[int], list[int]]:
    """What the side to move sees: row-major ids and hands."""

    def own(white: int) -> bool:
        return white == position.turn

    board = [0] * 81

    def put(square: int, number: int) -> None:
        file, rank = divmod(square if position.turn == 0 else 80 - square, 9)
        board[9 * rank + file] = number

    for white, king in enumerate(position.kings):
        put(king, 8 if own(white) else 22)
    for square, (kind, white, promoted) in position.pieces.items():
        number = PROMOTED_IDS[kind] if promoted else 1 + KINDS.index(kind)
        put(square, number if own(white) else number + 14)
    hands = [
        position.hands.get((position.turn ^ other, kind), 0)
        for other in (0, 1)
        for kind in KINDS
    ]
    return board, hands


@st.composite
def positions(draw: st.DrawFn) -> Position:
    """Any full set of pieces anywhere: far stranger than games produce."""
    squares = draw(st.permutations(range(81)))
    kings = (squares[0], squares[1])
    free = iter(squares[2:])
    pieces: dict[int, tuple[str, int, int]] = {}
    hands: dict[tuple[int, str], int] = {}
    for kind in KINDS:
        for _ in range(COUNTS[kind]):
            white, held, promoted = draw(
                st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 1))
            )
            if held:
                hands[white, kind] = hands.get((white, kind), 0) + 1
            else:
                pieces[next(free)] = (kind, white, 0 if kind == "G" else promoted)
    return Position(draw(st.integers(0, 1)), kings, pieces, hands)


def as_rows(*codes: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(codes), -1)


@given(positions())
def test_any_position_decodes_to_what_was_coded(position: Position) -> None:
    boards, hands, status = decode_hcp(as_rows(code_of(position)))
    board, hand = arrays_of(position)
    assert status[0] == VALID
    assert boards[0].tolist() == board
    assert hands[0].tolist() == hand


@given(positions())
def test_encoding_gives_the_code_of_the_side_to_move_as_black(
    position: Position,
) -> None:
    boards, hands, _ = decode_hcp(as_rows(code_of(position)))
    codes, status = encode_hcp(boards, hands)
    assert status[0] == VALID
    again = decode_hcp(codes)
    assert (again[0] == boards).all()
    assert (again[1] == hands).all()
    if position.turn == 0:
        assert codes[0].tobytes() == code_of(position)


@given(positions())
def test_equal_positions_of_either_colour_have_one_code(position: Position) -> None:
    other = Position(
        1 - position.turn,
        (80 - position.kings[1], 80 - position.kings[0]),
        {80 - at: (kind, 1 - w, p) for at, (kind, w, p) in position.pieces.items()},
        {(1 - white, kind): n for (white, kind), n in position.hands.items()},
    )
    boards, hands, _ = decode_hcp(as_rows(code_of(position), code_of(other)))
    codes, _ = encode_hcp(boards, hands)
    assert (boards[0] == boards[1]).all()
    assert codes[0].tobytes() == codes[1].tobytes()


def test_the_start_position_has_the_published_code() -> None:
    boards, hands, status = decode_hcp(as_rows(START))
    assert status[0] == VALID
    assert not hands.any()
    codes, _ = encode_hcp(boards, hands)
    assert codes[0].tobytes() == START


@given(positions(), st.sampled_from(KINDS), st.integers(0, 1))
def test_a_missing_piece_is_noticed_unless_it_is_a_pawn(
    position: Position, kind: str, white: int
) -> None:
    """The spare bits read as black pawns in hand; three bits are exactly one pawn.

    So a code cannot say that a pawn is missing: converters must refuse handicaps.
    """
    hands = dict(position.hands)
    assume(hands.get((white, kind), 0))
    hands[white, kind] -= 1
    _, _, status = decode_hcp(as_rows(code_of(position._replace(hands=hands))))
    assert status[0] == (VALID if kind == "P" else BAD_CODE)


@given(positions(), st.sampled_from("LNSG"))
def test_three_missing_pieces_are_noticed_by_their_count(
    position: Position, kind: str
) -> None:
    hands = {key: n for key, n in position.hands.items() if key[1] != kind}
    pieces = {at: piece for at, piece in position.pieces.items() if piece[0] != kind}
    one_left = position._replace(hands={**hands, (0, kind): 1}, pieces=pieces)
    _, _, status = decode_hcp(as_rows(code_of(one_left)))
    assert status[0] == BAD_COUNT, "15 spare bits are five pawns"


@pytest.mark.parametrize(
    "kings", [(81, 0), (0, 81), (127, 3), (3, 127), (44, 44), (100, 100)]
)
def test_impossible_kings_are_named(kings: tuple[int, int]) -> None:
    position = Position(0, kings, {}, {(0, "P"): 18})
    _, _, status = decode_hcp(as_rows(code_of(position)))
    assert status[0] == BAD_KING


def plain_status(code: bytes) -> int:
    """Read a code bit by bit and say what is wrong with it."""
    bits = "".join(f"{byte:08b}"[::-1] for byte in code)
    kings = {int(bits[1:8][::-1], 2), int(bits[8:15][::-1], 2)}
    if len(kings) < 2 or max(kings) > 80:
        return BAD_KING
    at, count = 15, dict.fromkeys(KINDS, 0)
    for table, symbols in ((BOARD_CODES, 79), (HAND_CODES, 999)):
        for _ in range(symbols):
            if at >= 256 and table is HAND_CODES:
                break
            rest = bits[at:].ljust(8, "0")
            if table is BOARD_CODES and rest[0] == "0":
                at += 1
                continue
            kind = next(
                (
                    kind
                    for kind, example in table.items()
                    if rest.startswith(
                        example[: -1 if kind == "G" or table is HAND_CODES else -2]
                    )
                ),
                None,
            )
            if kind is None:
                return BAD_CODE
            at += len(table[kind])
            count[kind] += 1
    if at != 256:
        return BAD_CODE
    return VALID if count == COUNTS else BAD_COUNT


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=50))
def test_noise_is_judged_as_bit_by_bit_reading_does(codes: list[bytes]) -> None:
    boards, _, status = decode_hcp(as_rows(*codes))
    assert status.tolist() == [plain_status(code) for code in codes]
    assert boards[status != BAD_KING].max(initial=0) <= 28


@given(positions(), st.lists(st.integers(0, 255), min_size=1, max_size=4))
def test_flipped_bits_are_judged_as_bit_by_bit_reading_does(
    position: Position, flips: list[int]
) -> None:
    code = bytearray(code_of(position))
    for bit in flips:
        code[bit // 8] ^= 1 << bit % 8
    _, _, status = decode_hcp(as_rows(bytes(code)))
    assert status[0] == plain_status(bytes(code))


def test_encoding_refuses_what_has_no_code() -> None:
    boards, hands, _ = decode_hcp(as_rows(START, START, START))
    boards[0][boards[0] == 8] = 0  # no own king
    boards[1][boards[1] == 1] = 0  # no own pawns
    hands[2][0] = 1  # a nineteenth pawn
    _, status = encode_hcp(boards, hands)
    assert status.tolist() == [BAD_KING, BAD_COUNT, BAD_COUNT]


def sample_row(code: bytes, move16: int, result: int) -> bytes:
    return code + bytes(2) + move16.to_bytes(2, "little") + bytes([result, 0])


WHITE_START = bytes([START[0] | 1]) + START[1:]
MOVE = 59 | 60 << 7  # 7g7f


@pytest.mark.parametrize(
    ("code", "result", "value"),
    [
        (START, 0, 0.5),
        (START, 1, 1.0),
        (START, 2, 0.0),
        (WHITE_START, 0, 0.5),
        (WHITE_START, 1, 0.0),
        (WHITE_START, 2, 1.0),
        (START, 1 | 4, 1.0),  # higher bits carry end flags in some tools
        (WHITE_START, 2 | 8 | 128, 1.0),
        (START, 0 | 16, 0.5),
    ],
)
def test_value_is_the_movers_result_whatever_the_flags(
    code: bytes, result: int, value: float
) -> None:
    samples = decode_samples(as_rows(sample_row(code, MOVE, result)))
    assert samples.status_B[0] == VALID
    assert samples.value_B[0] == value


@pytest.mark.parametrize("result", [3, 7, 255])
def test_a_result_of_three_is_refused(result: int) -> None:
    samples = decode_samples(as_rows(sample_row(START, MOVE, result)))
    assert samples.status_B[0] == BAD_RESULT


@pytest.mark.parametrize(
    "move16",
    [
        0,  # 1a to 1a
        59 | 59 << 7,
        81 | 60 << 7,  # no such destination
        127 | 60 << 7,
        59 | 88 << 7,  # no such drop
        59 | 127 << 7,
        59 | 42 << 7,  # no piece moves from 5g to 7f but ...
        54 | 81 << 7,  # a pawn dropped on rank a
        55 | 83 << 7,  # a knight dropped on rank b
        59 | 84 << 7 | 1 << 14,  # a drop that promotes
        59 | 60 << 7 | 1 << 14,  # promotion outside the zone
    ],
)
def test_a_move_of_no_piece_is_refused(move16: int) -> None:
    samples = decode_samples(as_rows(sample_row(START, move16, 1)))
    assert samples.status_B[0] == BAD_MOVE


def test_a_damaged_position_is_named_before_its_move() -> None:
    broken = bytes([START[0] | 0xFE, *START[1:]])
    samples = decode_samples(as_rows(sample_row(broken, 0, 3)))
    assert samples.status_B[0] == BAD_KING
    assert set(SAMPLE_STATUS_TEXT) == {BAD_KING, BAD_CODE, BAD_COUNT, 4, 5}


@given(
    st.integers(0, 300),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_any_index_and_threads_give_the_chosen_rows(
    count: int, threads: int, random: Random
) -> None:
    rows = np.concatenate(
        [
            as_rows(sample_row(START, MOVE, 1)),
            as_rows(sample_row(WHITE_START, 21 | 20 << 7, 2)),
            as_rows(sample_row(START, 14 | 15 << 7, 0)),
        ]
    )
    index = np.array([random.randrange(3) for _ in range(count)], dtype=np.int64)
    plain = decode_samples(rows)
    out = empty_samples(count)
    samples = decode_samples(rows, index, out, threads)
    assert samples is out
    for part, whole in zip(samples, plain, strict=True):
        assert (part == whole[index]).all()
