"""What makes an epoch the best one, for losses and for scores."""

from dataclasses import replace

import torch

from maou.losses.config import LossConfig, MultiLabelShape
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.loop import Goal
from maou.train.multi_label_metrics import MultiLabelMetrics
from maou.train.multi_label_task import MultiLabelTask
from maou.train.state import TrainState
from maou.train.task import Criterion, PolicyValueTask

METRICS = MultiLabelMetrics(
    rows=10,
    total_loss=0.5,
    element_accuracy=0.9,
    exact_match=0.0,
    f1=0.4,
    precision=0.5,
    recall=0.3,
)
NAN = float("nan")


def _state() -> TrainState:
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=4))
    return TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )


def test_a_criterion_prefers_strictly() -> None:
    better, worse = replace(METRICS, f1=0.5), replace(METRICS, f1=0.3)
    score = Criterion("f1", higher_is_better=True)
    assert score.prefers(better, METRICS)
    assert not score.prefers(worse, METRICS)
    assert not score.prefers(METRICS, METRICS)
    loss = Criterion("total_loss")
    assert loss.prefers(replace(METRICS, total_loss=0.4), METRICS)
    assert not loss.prefers(replace(METRICS, total_loss=0.6), METRICS)
    assert not loss.prefers(METRICS, METRICS)


def test_what_is_no_number_is_never_preferred() -> None:
    for higher in (False, True):
        criterion = Criterion("f1", higher_is_better=higher)
        assert not criterion.prefers(replace(METRICS, f1=NAN), METRICS)


def test_the_stages_are_judged_by_their_scores() -> None:
    for score in ("element_accuracy", "f1"):
        task = MultiLabelTask(MultiLabelShape(), score)
        assert task.best_by == {score: Criterion(score, higher_is_better=True)}
        assert task.columns == ("total_loss", score)
    task = PolicyValueTask(LossConfig())
    assert next(iter(task.best_by)) == "total"
    assert not any(criterion.higher_is_better for criterion in task.best_by.values())


def test_the_state_keeps_the_epoch_of_the_highest_score() -> None:
    state = _state()
    best_by = MultiLabelTask(MultiLabelShape(), "f1").best_by
    found = []
    for epoch, f1 in enumerate((0.2, 0.5, 0.5, 0.1, 0.6), start=1):
        state.epoch = epoch
        metrics = replace(METRICS, f1=f1, total_loss=1.0 - epoch / 10)
        found.append(state.record_validation(metrics, best_by))
        assert state.last is metrics
    new, no = frozenset({"f1"}), frozenset()
    assert found == [new, new, no, no, new]
    assert state.best["f1"].epoch == 5
    assert state.best["f1"].metrics.f1 == 0.6


def test_criteria_are_kept_apart() -> None:
    state = _state()
    best_by = {"total": Criterion("total_loss"), "f1": Criterion("f1", True)}
    state.epoch = 1
    assert state.record_validation(METRICS, best_by) == {"total", "f1"}
    state.epoch = 2
    worse_score = replace(METRICS, total_loss=0.1, f1=0.1)
    assert state.record_validation(worse_score, best_by) == {"total"}
    assert {by: best.epoch for by, best in state.best.items()} == {"total": 2, "f1": 1}


def test_a_goal_is_reached_at_its_threshold() -> None:
    assert Goal("f1", 0.4).is_reached(METRICS)
    assert not Goal("f1", 0.41).is_reached(METRICS)
    assert not Goal("f1", 0.4).is_reached(replace(METRICS, f1=NAN))


def test_the_score_of_a_step_carries_no_gradient() -> None:
    from maou.data.batch import flag_batch

    task = MultiLabelTask(MultiLabelShape(), "element_accuracy")
    packed = torch.zeros((2, 11), dtype=torch.uint8).numpy()
    batch = flag_batch(
        torch.zeros((2, 81), dtype=torch.uint8).numpy(),
        torch.zeros((2, 14), dtype=torch.uint8).numpy(),
        packed,
        81,
    )
    outputs = torch.full((2, 81), -1.0, requires_grad=True)
    loss_B, score_B = task.rows(outputs, batch)
    assert loss_B.requires_grad
    assert not score_B.requires_grad
    assert score_B.tolist() == [1.0, 1.0]
