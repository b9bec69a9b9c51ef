"""Settings that cannot matter are named."""

from pathlib import Path

import pytest

from maou.checkpoint.config import WarmStartConfig
from maou.checks import (
    changed_settings,
    check_sources,
    warnings_for,
)
from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.errors import ConfigError
from maou.losses.config import LossConfig, StageLossConfig
from maou.model.config import FreezeConfig
from maou.optim.config import OptimConfig
from maou.sources.config import SourceConfig, StageSourceConfig
from maou.train.config import StageConfig, TrainConfig

SOURCE = SourceConfig(input_path=Path("x"))
PATHS = {f"stage{n}_data_path": Path(str(n)) for n in (1, 2, 3)}


def _warnings(config: RunConfig, *, streaming: bool = True, on_cuda: bool = False):
    return warnings_for(config, streaming=streaming, on_cuda=on_cuda)


def test_defaults_warn_of_nothing():
    assert _warnings(RunConfig(SOURCE)) == []


@pytest.mark.parametrize(
    ("flag", "config", "streaming"),
    [
        (
            "--prefetch-factor",
            RunConfig(SOURCE, data=DataConfig(prefetch_factor=9)),
            True,
        ),
        ("--shuffle-rows", RunConfig(SOURCE, data=DataConfig(shuffle_rows=9)), False),
        ("--pin-memory", RunConfig(SOURCE, data=DataConfig(pin_memory=True)), True),
        ("--momentum", RunConfig(SOURCE, optim=OptimConfig(momentum=0.5)), True),
        (
            "--optimizer-beta1",
            RunConfig(SOURCE, optim=OptimConfig(optimizer="sgd", optimizer_beta1=0.5)),
            True,
        ),
        (
            "--input-cache-mode",
            RunConfig(SourceConfig(input_path=Path("x"), input_cache_mode="memory")),
            True,
        ),
    ],
)
def test_idle_settings_are_named(flag, config, streaming):
    (warning,) = _warnings(config, streaming=streaming)
    assert warning.startswith(f"{flag} has no effect: ")


def test_settings_that_matter_are_not_named():
    workers = DataConfig(prefetch_factor=9, dataloader_workers=2, pin_memory=True)
    assert _warnings(RunConfig(SOURCE, data=workers), on_cuda=True) == []
    sgd = OptimConfig(optimizer="sgd", momentum=0.5)
    assert _warnings(RunConfig(SOURCE, optim=sgd)) == []


def test_mmap_is_said_to_mean_file():
    config = RunConfig(SourceConfig(input_path=Path("x"), input_cache_mode="mmap"))
    (warning,) = _warnings(config)
    assert "deprecated" in warning


def test_changed_settings_are_shown_as_typed():
    config = RunConfig(SOURCE, data=DataConfig(streaming=False, batch_size=7))
    shown = {item.flag: item.value for item in changed_settings(config)}
    assert shown == {
        "--input-path": Path("x"),
        "--no-streaming": False,
        "--batch-size": 7,
    }


def _staged(
    stage: str | None, *numbers: int, source: bool = False, **more
) -> RunConfig:
    paths = {f"stage{n}_data_path": PATHS[f"stage{n}_data_path"] for n in numbers}
    return RunConfig(
        SOURCE if source else SourceConfig(),
        stages=StageConfig(stage=stage),
        stage_source=StageSourceConfig(**paths),
        **more,
    )


@pytest.mark.parametrize(
    ("config", "staged", "runs"),
    [
        (_staged(None, source=True), False, {3}),
        (_staged(None, 3), True, {3}),
        (_staged(None, 1, source=True), True, {3}),
        (_staged("3", source=True), True, {3}),
        (_staged("1", 1), True, {1}),
        (_staged("2", 2), True, {2}),
        (_staged("all", 1, 2, 3), True, {1, 2, 3}),
        (_staged("ALL", 1, 2, source=True), True, {1, 2, 3}),
    ],
)
def test_which_stages_run(config, staged, runs):
    check_sources(config)
    assert config.is_staged is staged
    assert {n for n in (1, 2, 3) if config.runs_stage(n)} == runs


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (_staged(None), "--input-path: is required"),
        (_staged(None, 3, source=True), "both name the data of stage 3; give one"),
        (
            RunConfig(source=SourceConfig(input_path=Path("x"), input_dataset_id="d")),
            "--input-path and --input-dataset-id both name the data; give one",
        ),
        (_staged("1", 3, source=True), "--input-path and --stage3-data-path both"),
        (_staged("1", 2), "--stage 1 needs --stage1-data-path"),
        (_staged("2", 1), "--stage 2 needs --stage2-data-path"),
        (_staged("3", 1, 2), "--stage 3 needs --stage3-data-path (or --input-path)"),
        (_staged(None, 1), "--stage 3 needs --stage3-data-path (or --input-path)"),
        (_staged("all", 1, 2), "--stage all needs --stage3-data-path"),
        (_staged("all", 2, 3), "--stage all needs --stage1-data-path"),
        (_staged("all", 1, source=True), "--stage all needs --stage2-data-path"),
    ],
)
def test_a_stage_without_one_source_is_refused(config, says):
    with pytest.raises(ConfigError) as caught:
        check_sources(config)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            _staged("1", 1, loss=LossConfig(gce_parameter=0.5)),
            "--gce-parameter has no effect: --stage 1 does not run stage 3",
        ),
        (
            _staged("2", 2, train=TrainConfig(compilation=True)),
            "--compilation has no effect: --stage 2 does not run stage 3",
        ),
        (
            _staged("3", 2, 3),
            "--stage2-data-path has no effect: --stage 3 does not run stage 2",
        ),
        (
            _staged(None, 3, stage_loss=StageLossConfig(stage1_pos_weight=2.0)),
            "--stage1-pos-weight has no effect: --stage 3 does not run stage 1",
        ),
        (
            _staged("1", 1, data=DataConfig(stage2_test_ratio=0.1)),
            "--stage2-test-ratio has no effect: --stage 1 does not run stage 2",
        ),
        (
            _staged(
                "1",
                1,
                warm_start=WarmStartConfig(resume_legal_moves_head_from=Path("x")),
            ),
            (
                "--resume-legal-moves-head-from has no effect: --stage 1 does not run "
                "stage 2"
            ),
        ),
        (
            _staged("2", 2, freeze=FreezeConfig(freeze_backbone=True)),
            "--freeze-backbone has no effect: --stage 2 does not run stage 3",
        ),
        (
            RunConfig(SOURCE, stages=StageConfig(stage12_lr_scheduler="none")),
            (
                "--stage12-lr-scheduler has no effect: --stage 3 does not run stage 1 "
                "and 2"
            ),
        ),
    ],
)
def test_settings_of_stages_that_do_not_run_are_named(config, says):
    assert _warnings(config) == [says]


def test_settings_of_stages_that_run_are_not_named():
    everything = _staged(
        "all",
        *(1, 2, 3),
        loss=LossConfig(gce_parameter=0.5),
        stage_loss=StageLossConfig(stage1_pos_weight=2.0, stage2_gamma_neg=2.0),
        data=DataConfig(stage2_test_ratio=0.1, test_ratio=0.3),
        freeze=FreezeConfig(freeze_backbone=True),
        optim=OptimConfig(learning_rate=0.1),
    )
    assert _warnings(everything) == []
    assert _warnings(_staged("1", 1, optim=OptimConfig(learning_rate=0.1))) == []


def test_a_frozen_backbone_needs_parameters_from_somewhere():
    frozen = FreezeConfig(freeze_backbone=True)
    (warning,) = _warnings(_staged("3", 3, freeze=frozen))
    assert "keeps random parameters" in warning
    start = WarmStartConfig(resume_backbone_from=Path("x"))
    assert _warnings(_staged("3", 3, freeze=frozen, warm_start=start)) == []
    assert _warnings(_staged("all", 1, 2, 3, freeze=frozen)) == []
