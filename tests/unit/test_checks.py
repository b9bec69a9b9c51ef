"""Settings that cannot matter are named."""

from pathlib import Path

import pytest

from maou.checks import changed_settings, warnings_for
from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.optim.config import OptimConfig
from maou.sources.config import SourceConfig

SOURCE = SourceConfig(input_path=Path("x"))


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
