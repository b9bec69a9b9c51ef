"""Edges of the multi-label metrics: empty sets, no rows, given losses."""

import dataclasses
import json

import pytest
import torch

from maou.losses.config import MultiLabelShape
from maou.losses.multi_label import multi_label_loss
from maou.train.multi_label_metrics import MultiLabelSums, row_scores

PLAIN = MultiLabelShape()


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [  # element accuracy, exact match, F1, precision, recall
        ("0000", "0000", (1.0, 1.0, 1.0, 1.0, 1.0)),
        ("0000", "0100", (0.75, 0.0, 0.0, 0.0, 0.0)),
        ("1000", "0000", (0.75, 0.0, 0.0, 0.0, 0.0)),
        ("0011", "0011", (1.0, 1.0, 1.0, 1.0, 1.0)),
        ("1100", "0011", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("0111", "0001", (0.5, 0.0, 0.5, 1 / 3, 1.0)),
        ("0001", "0111", (0.5, 0.0, 0.5, 1.0, 1 / 3)),
        ("1111", "1111", (1.0, 1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_scores_of_a_row(
    predicted: str, true: str, expected: tuple[float, ...]
) -> None:
    logits = torch.tensor([[2.0 * int(c) - 1.0 for c in predicted]])
    flags = torch.tensor([[int(c) for c in true]], dtype=torch.uint8)
    found = row_scores(logits, flags)
    assert all(column.shape == (1,) for column in found)
    assert [column.item() for column in found] == pytest.approx(list(expected))


def test_a_logit_of_0_predicts_no_flag() -> None:
    assert row_scores(torch.zeros(1, 3), torch.zeros(1, 3)).exact_match_B.item() == 1.0


def test_no_rows_have_no_metrics() -> None:
    with pytest.raises(ValueError, match="not a single row"):
        MultiLabelSums(PLAIN).result()


def test_given_losses_are_used_and_results_are_plain_numbers() -> None:
    logits, flags = torch.randn(5, 81, dtype=torch.float16), torch.rand(5, 81) < 0.3
    shape = MultiLabelShape(gamma_neg=2.0, clip=0.02)
    sums, again = MultiLabelSums(shape), MultiLabelSums(PLAIN)
    sums.update(logits, flags)
    again.update(logits, flags, multi_label_loss(logits, flags, shape))
    assert sums.result() == again.result()
    plain = dataclasses.asdict(sums.result())
    assert json.loads(json.dumps(plain)) == plain
    assert {type(value) for value in plain.values()} == {int, float}


def test_gradients_are_not_kept() -> None:
    logits = torch.randn(2, 81, requires_grad=True)
    sums = MultiLabelSums(PLAIN)
    sums.update(logits, torch.ones(2, 81))
    assert not sums._sums.requires_grad
