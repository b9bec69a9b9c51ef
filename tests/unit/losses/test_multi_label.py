"""The multi-label loss: limits, extremes, gradients, and what is refused."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from maou.errors import ConfigError
from maou.losses.config import MultiLabelShape, StageLossConfig
from maou.losses.multi_label import multi_label_loss

_GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 81, generator=_GENERATOR) * 3
FLAGS = torch.rand(6, 81, generator=_GENERATOR) < 0.2

SHAPES = [
    MultiLabelShape(),
    MultiLabelShape(pos_weight=3.0),
    MultiLabelShape(gamma_neg=2.0),
    MultiLabelShape(gamma_neg=2.0, clip=0.02),
    MultiLabelShape(gamma_pos=1.0, gamma_neg=4.0, clip=0.05),
    MultiLabelShape(gamma_pos=0.1, gamma_neg=0.01),
    MultiLabelShape(gamma_pos=0.1, gamma_neg=0.01, clip=1e-6),
    MultiLabelShape(gamma_neg=0.5, clip=0.999),
    MultiLabelShape(clip=0.02),
]


@pytest.mark.parametrize("pos_weight", [1.0, 0.3, 5.0])
def test_without_focusing_it_is_binary_cross_entropy(pos_weight: float) -> None:
    expected = binary_cross_entropy_with_logits(
        LOGITS, FLAGS.float(), pos_weight=torch.tensor(pos_weight), reduction="none"
    ).mean(dim=1)
    found = multi_label_loss(LOGITS, FLAGS, MultiLabelShape(pos_weight=pos_weight))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("tiny", [1e-4, 1e-7])
def test_the_asymmetric_loss_tends_to_cross_entropy(tiny: float) -> None:
    plain = multi_label_loss(LOGITS, FLAGS, MultiLabelShape())
    shape = MultiLabelShape(gamma_pos=tiny, gamma_neg=tiny, clip=tiny)
    found = multi_label_loss(LOGITS, FLAGS, shape)
    # A false flag of logit 10 has 1 - p = 5e-5, of which the clip is 2e4 * tiny.
    rtol = {1e-4: 0.1, 1e-7: 1e-3}[tiny]
    torch.testing.assert_close(found, plain, rtol=rtol, atol=0.0)
    assert (found < plain).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16])
def test_flags_of_any_type(dtype: torch.dtype) -> None:
    shape = SHAPES[4]
    found = multi_label_loss(LOGITS, FLAGS.to(dtype), shape)
    assert torch.equal(found, multi_label_loss(LOGITS, FLAGS, shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype: torch.dtype) -> None:
    half = LOGITS.to(dtype)
    found = multi_label_loss(half, FLAGS, SHAPES[4])
    assert found.dtype == torch.float32
    assert torch.equal(found, multi_label_loss(half.float(), FLAGS, SHAPES[4]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [0.0, 15.0, 40.0, 100.0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(
    shape: MultiLabelShape, size: float
) -> None:
    logits = torch.tensor([[size, -size], [-size, size]], requires_grad=True)
    loss = multi_label_loss(logits, torch.tensor([[1, 0], [1, 0]]), shape)
    loss.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()
    assert (loss >= 0).all()
    # A true flag pulls its logit up, a false one down, or neither at all.
    assert (logits.grad[:, 0] <= 0).all()
    assert (logits.grad[:, 1] >= 0).all()
    if size >= 40.0:
        assert loss[0] < 1e-9  # both are right
        assert loss[1] > 1e-4  # both are wrong


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_clipped_flags_cost_nothing(gamma: float) -> None:
    clip = 0.1
    margin = torch.tensor(clip).logit().item()
    logits = torch.tensor([[margin - 0.01, margin + 0.01]], requires_grad=True)
    shape = MultiLabelShape(gamma_neg=gamma, clip=clip)
    loss = multi_label_loss(logits, torch.zeros(1, 2), shape)
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0.0
    assert logits.grad[0, 1] > 0.0
    assert 0.0 < loss.item() < 1e-3


def test_focusing_plays_easy_flags_down() -> None:
    easy, hard = torch.tensor([[-3.0]]), torch.tensor([[3.0]])
    no, yes = torch.zeros(1, 1), torch.ones(1, 1)
    for flags, shape in (
        (no, MultiLabelShape(gamma_neg=2.0)),
        (yes, MultiLabelShape(gamma_pos=2.0)),
    ):
        sign = 1.0 - 2.0 * flags
        plain = MultiLabelShape()
        lost_easy = multi_label_loss(sign * easy, flags, shape)
        lost_hard = multi_label_loss(sign * hard, flags, shape)
        p = torch.sigmoid(easy)[0]
        torch.testing.assert_close(
            lost_easy, p**2 * multi_label_loss(sign * easy, flags, plain)
        )
        torch.testing.assert_close(
            lost_hard, (1 - p) ** 2 * multi_label_loss(sign * hard, flags, plain)
        )


def test_flags_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="flags"):
        multi_label_loss(LOGITS, FLAGS[:, :80], MultiLabelShape())


def test_the_shapes_of_the_stages() -> None:
    config = StageLossConfig(stage1_pos_weight=2.0, stage2_pos_weight=3.0)
    assert config.stage1 == MultiLabelShape(pos_weight=2.0)
    assert config.stage2 == MultiLabelShape(pos_weight=3.0)
    assert not config.stage2.asymmetric
    config = StageLossConfig(
        stage2_gamma_pos=1.0, stage2_gamma_neg=2.0, stage2_clip=0.02
    )
    assert config.stage1 == MultiLabelShape()
    assert config.stage2 == MultiLabelShape(gamma_pos=1.0, gamma_neg=2.0, clip=0.02)


@pytest.mark.parametrize(
    "field", ["stage2_gamma_pos", "stage2_gamma_neg", "stage2_clip"]
)
def test_the_asymmetric_loss_takes_no_weight(field: str) -> None:
    assert StageLossConfig(**{field: 0.02}).stage2.asymmetric
    with pytest.raises(ConfigError) as error:
        StageLossConfig(**{field: 0.02, "stage2_pos_weight": 2.0})
    assert "--stage2-pos-weight 2" in str(error.value)
    assert "--" + field.replace("_", "-") in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage1_pos_weight", 0.0),
        ("stage2_pos_weight", -1.0),
        ("stage2_gamma_pos", -0.1),
        ("stage2_gamma_neg", -0.1),
        ("stage2_clip", -0.1),
        ("stage2_clip", 1.0),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')}: {value}"):
        StageLossConfig(**{field: value})
