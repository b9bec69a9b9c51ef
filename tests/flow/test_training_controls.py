"""Early stopping, dry run, configuration files and histograms, through the command."""

import json
import tomllib
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maou.cli.main import run

TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--no-export-onnx",)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, selfplay_rows) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in range(4):
        rows = selfplay_rows[number * 400 : (number + 1) * 400]
        (folder / f"{number}.hcpe").write_bytes(rows.tobytes())
    return folder


def _run(tmp_path: Path, *arguments: str) -> int:
    places = ("--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l"))
    return run(["learn-model", *places, *arguments])


def _folder(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "m").iterdir()
    return folder


def test_run_toml_makes_the_same_run_and_flags_go_before_it(tmp_path, shards, capfd):
    flags = (*TINY, "--epoch", "1", "--batch-size", "64", "--optimizer", "sgd")
    first, second, third = (tmp_path / name for name in "123")
    assert _run(first, "--input-path", str(shards), *flags, "--no-streaming") == 0
    written = _folder(first) / "run.toml"
    assert tomllib.loads(written.read_text())["optim"]["optimizer"] == "sgd"
    capfd.readouterr()
    assert _run(second, "--config", str(written)) == 0
    shown = capfd.readouterr().err
    assert f"--optimizer sgd  ({written})" in shown
    assert f"--model-dir {second / 'm'}  (command line)" in shown
    assert _run(third, "--config", str(written), "--batch-size", "32") == 0
    weights = [
        (_folder(path) / "last" / "model.safetensors").read_bytes()
        for path in (first, second, third)
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[optim]\nlearning-rate = 0.1\n", "Did you mean learning-ratio?"),
        ("[optimiser]\n", "unknown setting [optimiser]"),
        ("batch-size = 1\n", "unknown setting [batch-size]"),
        ("[data]\nbatch-size = 'x'\n", "batch-size = 'x' is not of type int"),
        ("[data]\nbatch-size = true\n", "batch-size = True is not of type int"),
        ("[data]\nbatch-size = 0\n", "--batch-size: 0 is out of range"),
        ("[data\n", "not a TOML file"),
    ],
)
def test_wrong_configuration_files_are_one_message(tmp_path, capfd, text, says):
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert _run(tmp_path, "--config", str(path), "--input-path", "x") == 2
    assert says in capfd.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_missing_input_is_one_message(tmp_path, capfd):
    assert _run(tmp_path) == 2
    assert "--input-path: is required" in capfd.readouterr().err


def test_dry_run_tries_a_batch_and_writes_nothing(tmp_path, shards, capfd):
    arguments = ("--input-path", str(shards), *TINY, "--batch-size", "64")
    assert _run(tmp_path, *arguments, "--dry-run") == 0
    output = capfd.readouterr()
    assert "Dry run: 64 real positions went through" in output.out
    assert "parameters" in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("metric", ["total", "policy", "value"])
def test_early_stopping_ends_after_the_patience(tmp_path, shards, metric):
    """At this rate the loss soon rises: the last epochs do not improve it."""
    arguments = (
        *("--input-path", str(shards), *TINY, "--batch-size", "64", "--epoch", "40"),
        *("--early-stopping-patience", "2", "--early-stopping-metric", metric),
        *("--learning-ratio", "0.1"),
    )
    assert _run(tmp_path, *arguments) == 0
    state = json.loads((_folder(tmp_path) / "last" / "state.json").read_text())
    assert state["epoch"] < 40
    assert state["epoch"] == state["best"][metric]["epoch"] + 2
    for link, by in (
        ("best", "total"),
        ("best-policy", "policy"),
        ("best-value", "value"),
    ):
        named = json.loads((_folder(tmp_path) / link / "state.json").read_text())
        assert named["epoch"] == state["best"][by]["epoch"]


def test_histograms_of_matching_parameters_every_second_epoch(tmp_path, shards):
    arguments = (
        *("--input-path", str(shards), *TINY, "--batch-size", "64", "--epoch", "4"),
        *("--tensorboard-histogram-frequency", "2"),
        *("--tensorboard-histogram-module", "value_head.*"),
        *("--tensorboard-histogram-module", "*label_bias*"),
    )
    assert _run(tmp_path, *arguments) == 0
    (folder,) = (tmp_path / "l").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0}).Reload()
    tags = set(events.Tags()["histograms"])
    assert "parameters/value_head.outlook.weight" in tags
    assert "gradients/policy_head.label_bias_M" in tags
    assert not any("backbone" in tag for tag in tags)
    assert len(events.Histograms("gradients/policy_head.label_bias_M")) == 2
