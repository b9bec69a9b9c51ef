"""Positions decoded per second on one core: ours against cshogi in a Python loop.

Ours makes piece ids, hands, label and value in one pass. cshogi is measured three ways:
pieces and hands only; with label and result, the same content as ours; and to the 119
planes that dlshogi's Python tools feed their networks.

    python benchmarks/decode.py [HCPE_FILE] [--rounds N]
"""

import argparse
from pathlib import Path

import numpy as np

import report
from maou.records.raw import RawShard
from maou.shogi.samples import decode_samples, empty_samples

DEFAULT = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"
OURS_ROWS, THEIRS_ROWS = 400_000, 10_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    shard = RawShard(options.file)
    real = shard.read(0, shard.rows)
    rows = np.resize(real, (OURS_ROWS, real.shape[1]))
    samples = empty_samples(len(rows))
    theirs = real[:THEIRS_ROWS]
    works = {
        "maou: ids, hands, label, value": lambda: decode_samples(rows, out=samples),
        "cshogi: pieces, hands": lambda: cshogi_pieces(theirs),
        "cshogi: pieces, hands, label, result": lambda: cshogi_samples(theirs),
        "cshogi: 119 planes, label, result": lambda: cshogi_planes(theirs),
    }
    times = report.in_turns(works, options.rounds)
    assert not samples.status_B.any()
    counts = [len(rows), *[len(theirs)] * 3]
    rates = {
        name: report.median_rate(count, times[name])
        for (name, count) in zip(works, counts, strict=True)
    }
    ours = next(iter(rates.values()))
    report.show(
        ["one core", "positions/s", "ours is faster"],
        [
            [name, f"{rate:,.0f}", f"{ours / rate:.1f} x"]
            for name, rate in rates.items()
        ],
    )
    report.finish("decode", {"positions_per_second": rates, "rounds": options.rounds})


def cshogi_pieces(rows: np.ndarray) -> None:
    """Decode pieces and hands."""
    import cshogi

    board = cshogi.Board()
    for row in rows:
        board.set_hcp(np.ascontiguousarray(row[:32]))
        pieces, hands = board.pieces, board.pieces_in_hand
        assert pieces
        assert hands


def cshogi_samples(rows: np.ndarray) -> None:
    """Decode to the same content as ours, as dlshogi's Python tools do."""
    import cshogi
    from cshogi.dlshogi import make_move_label

    board = cshogi.Board()
    records = rows.view(cshogi.HuffmanCodedPosAndEval).reshape(-1)
    labels = np.empty(len(rows), dtype=np.int64)
    results = np.empty(len(rows), dtype=np.float32)
    for i, record in enumerate(records):
        board.set_hcp(record["hcp"])
        pieces, hands = board.pieces, board.pieces_in_hand
        move = board.move_from_move16(int(record["bestMove16"]))
        labels[i] = make_move_label(move, board.turn)
        results[i] = record["gameResult"] == board.turn + 1
        assert pieces
        assert hands


def cshogi_planes(rows: np.ndarray) -> None:
    """Decode to dlshogi's input planes, label and result."""
    import cshogi
    from cshogi.dlshogi import (
        FEATURES1_NUM,
        FEATURES2_NUM,
        make_input_features,
        make_move_label,
    )

    board = cshogi.Board()
    records = rows.view(cshogi.HuffmanCodedPosAndEval).reshape(-1)
    first = np.empty((FEATURES1_NUM, 9, 9), dtype=np.float32)
    second = np.empty((FEATURES2_NUM, 9, 9), dtype=np.float32)
    labels = np.empty(len(rows), dtype=np.int64)
    results = np.empty(len(rows), dtype=np.float32)
    for i, record in enumerate(records):
        board.set_hcp(record["hcp"])
        make_input_features(board, first, second)
        move = board.move_from_move16(int(record["bestMove16"]))
        labels[i] = make_move_label(move, board.turn)
        results[i] = record["gameResult"] == board.turn + 1


if __name__ == "__main__":
    main()
