"""`maou learn-model` and `maou evaluate` as a user runs them, on real positions."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maou.cli.main import run
from maou.records.hcpe import HCPE
from maou.records.write import write_hcpe_shard

TINY = ("--gpu", "cpu", "--resnet-blocks", "2", "--resnet-channels", "16")
QUICK = ("--epoch", "1", "--batch-size", "100", "--learning-ratio", "0.003")
QUICK += ("--no-export-onnx",)


def _rich(rows, games) -> np.ndarray:
    """Give raw rows the columns of a rich shard; the games are the true ones."""
    from maou.records.hcpe import rich_dtype

    raw = np.ascontiguousarray(rows).view(HCPE).reshape(-1)
    rich = np.zeros(len(raw), dtype=rich_dtype())
    for name in ("hcp", "eval", "bestMove16", "gameResult"):
        rich[name] = raw[name]
    number = np.repeat(np.arange(len(games)), games)[: len(raw)]
    rich["id"] = [f"game{n}_{ply}".encode() for ply, n in enumerate(number)]
    return rich


@pytest.fixture(scope="module")
def folders(tmp_path_factory, selfplay_rows, selfplay_games) -> dict[str, Path]:
    """The same 3,000 positions as shards of each container, three files each."""
    root = tmp_path_factory.mktemp("shards")
    rich = _rich(selfplay_rows[:3000], selfplay_games)
    found = {}
    for container in ("hcpe", "npy", "feather"):
        folder = root / container
        folder.mkdir()
        for number in range(3):
            part = rich[number * 1000 : (number + 1) * 1000]
            write_hcpe_shard(folder / f"{number}.{container}", part, container)
        found[container] = folder
    return found


def _learn(tmp_path: Path, shards: Path, *arguments: str) -> Path:
    """Train and return the run's folder of models."""
    code = run(
        [
            "learn-model",
            *("--input-path", str(shards)),
            *("--model-dir", str(tmp_path / "models")),
            *("--log-dir", str(tmp_path / "logs")),
            *TINY,
            *QUICK,
            *arguments,
        ]
    )
    assert code == 0
    (folder,) = (tmp_path / "models").iterdir()
    return folder


def _evaluate(model: Path, shards: Path, capfd, *arguments: str) -> dict:
    capfd.readouterr()
    code = run(
        [
            "evaluate",
            *("--model", str(model)),
            *("--input-path", str(shards)),
            *("--gpu", "cpu", "--json", "-"),
            *arguments,
        ]
    )
    assert code == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.parametrize("container", ["hcpe", "npy", "feather"])
@pytest.mark.parametrize("mode", ["--streaming", "--no-streaming"])
def test_every_container_trains_in_both_modes(
    tmp_path, folders, container, mode, capfd
):
    run_folder = _learn(tmp_path, folders[container], mode)
    assert {path.name for path in run_folder.iterdir()} >= {
        "best",
        "last",
        "run.toml",
    }
    lines = (tmp_path / "logs" / run_folder.name / "metrics.jsonl").read_text()
    entries = [json.loads(line) for line in lines.splitlines()]
    kinds = [entry["kind"] for entry in entries]
    assert kinds == ["validation", "training", "validation"]
    before, after = entries[0], entries[-1]
    assert after["policy_cross_entropy"] < before["policy_cross_entropy"] - 0.3
    split = "shard" if container == "hcpe" else "game"
    assert f"split by {split})" in capfd.readouterr().err


def test_npy_and_feather_give_bitwise_the_same_network(tmp_path, folders):
    weights = [
        (_learn(tmp_path / name, folders[name], "--no-streaming") / "last")
        .joinpath("model.safetensors")
        .read_bytes()
        for name in ("npy", "feather")
    ]
    assert weights[0] == weights[1]


def test_checkpoint_and_onnx_measure_what_training_reported(tmp_path, folders, capfd):
    shards = folders["feather"]
    flags = ("--seed", "3", "--test-ratio", "0.3", "--export-onnx")
    run_folder = _learn(tmp_path, shards, *flags)
    state = json.loads((run_folder / "best" / "state.json").read_text())
    checkpoint = _evaluate(run_folder, shards, capfd, "--split", "validation")
    exported = _evaluate(
        run_folder / "best.onnx", shards, capfd, "--split", "validation"
    )
    assert checkpoint["metrics"] == pytest.approx(
        state["best"]["total"]["metrics"], rel=1e-5
    )
    assert exported["metrics"] == pytest.approx(checkpoint["metrics"], rel=1e-4)
    assert exported["step"] == checkpoint["step"] == state["step"]
    everything = _evaluate(run_folder, shards, capfd)
    training = _evaluate(run_folder, shards, capfd, "--split", "training")
    assert everything["metrics"]["rows"] == 3000
    held_out = checkpoint["metrics"]["rows"]
    assert training["metrics"]["rows"] + held_out == 3000
    assert 0 < held_out < 1500


def test_onnx_says_what_it_is(tmp_path, folders):
    run_folder = _learn(tmp_path, folders["npy"], "--export-onnx")
    model = onnx.load(run_folder / "best.onnx", load_external_data=False)
    said = {entry.key: entry.value for entry in model.metadata_props}
    state = json.loads((run_folder / "best" / "state.json").read_text())
    assert said["training.step"] == str(state["step"])
    assert said["maou.labels"] == state["label_scheme"] == "maou-1496-v1"
    assert "seen from the side to move" in said["input.board"]


def test_tensorboard_holds_both_sides(tmp_path, folders):
    run_folder = _learn(tmp_path, folders["npy"], "--epoch", "2")
    events = EventAccumulator(str(tmp_path / "logs" / run_folder.name)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"validation/policy_top1", "validation/value_brier"} <= tags
    assert {"training/policy_loss", "training/waiting"} <= tags
    steps = [event.step for event in events.Scalars("validation/policy_top1")]
    assert steps[0] == 0
    assert len(steps) == 3


def test_accumulation_and_sgd_and_the_other_schedule(tmp_path, folders):
    run_folder = _learn(
        tmp_path,
        folders["npy"],
        *("--gradient-accumulation-steps", "4", "--optimizer", "SGD"),
        *("--lr-scheduler", "cosine annealing lr", "--start-epoch", "5"),
    )
    state = json.loads((run_folder / "last" / "state.json").read_text())
    assert state["epoch"] == 6
    assert state["settings"]["optim"]["lr_scheduler"] == "CosineAnnealingLR"
    batches = -(-state["rows"] // 100)
    assert state["step"] == -(-batches // 4)


def test_the_same_run_twice_gives_the_same_bytes(tmp_path, folders):
    flags = ("--mirror-probability", "0.5", "--shuffle-rows", "700")
    first = _learn(tmp_path / "1", folders["npy"], *flags)
    second = _learn(tmp_path / "2", folders["npy"], *flags, "--dataloader-workers", "1")
    other = _learn(tmp_path / "3", folders["npy"], *flags, "--seed", "1")
    weights = [
        (folder / "last" / "model.safetensors").read_bytes()
        for folder in (first, second, other)
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_a_diverging_run_fails_with_one_message(tmp_path, folders, capfd):
    code = run(
        [
            "learn-model",
            *("--input-path", str(folders["npy"])),
            *("--model-dir", str(tmp_path / "models")),
            *("--log-dir", str(tmp_path / "logs")),
            *TINY,
            *("--optimizer", "sgd", "--learning-ratio", "1e30", "--batch-size", "100"),
        ]
    )
    assert code == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if "Error" in line]
    assert len(errors) == 1
    assert "the loss is not finite" in errors[0]
    assert "lower --learning-ratio" in errors[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--optimizer", "adam"), "Did you mean adamw?"),
        (("--model-architecture", "resnext"), "Did you mean resnet?"),
        (("--lr-scheduler", "cosine"), "Warmup+CosineDecay, CosineAnnealingLR"),
        (
            ("--test-ratio", "1"),
            "--test-ratio: 1.0 is out of range; it needs 0 < x < 1",
        ),
        (("--epoch", "0"), "--epoch: 0 is out of range"),
        (("--learning-ratio", "nan"), "--learning-ratio: nan is not a finite number"),
        (("--dataloader-workers", "-1"), "--dataloader-workers: -1 is out of range"),
        (("--optimizer-beta1", "0.9999"), "must be below --optimizer-beta2"),
        (("--gpu", "cuda:77"), "--gpu cuda:77: this device is not available"),
        (("--input-format", "hcpe3"), "--input-format: 'hcpe3' is not one of"),
        (("--no-such-flag",), "No such option"),
    ],
)
def test_wrong_settings_are_one_message_and_exit_code_2(
    tmp_path, folders, capfd, arguments, says
):
    code = run(
        [
            "learn-model",
            *("--input-path", str(folders["npy"])),
            *("--model-dir", str(tmp_path / "models")),
            *arguments,
        ]
    )
    assert code == 2
    error = capfd.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / "models").exists()


def test_model_folder_that_cannot_be_made(tmp_path, folders, capfd):
    (tmp_path / "file").write_text("")
    code = run(
        [
            "learn-model",
            *("--input-path", str(folders["npy"])),
            *("--model-dir", str(tmp_path / "file" / "models")),
            *("--log-dir", str(tmp_path / "logs")),
            *TINY,
        ]
    )
    assert code == 2
    assert "--model-dir" in capfd.readouterr().err


def test_logs_and_models_need_folders_of_their_own(tmp_path, folders, capfd):
    places = (
        "--model-dir",
        str(tmp_path / "runs"),
        "--log-dir",
        str(tmp_path / "runs"),
    )
    source = ("--input-path", str(folders["npy"]))
    assert run(["learn-model", *source, *places, *TINY]) == 2
    assert "logs need a folder of their own" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing", None, "no such file or folder"),
        ("model.onnx", b"not onnx", "model.onnx"),
        ("model.onnx", b"", "model.onnx"),
    ],
)
def test_evaluate_refuses_what_is_no_model(
    tmp_path, folders, capfd, name, content, says
):
    model = tmp_path / name
    if content is not None:
        model.write_bytes(content)
    arguments = ("--model", str(model), "--input-path", str(folders["npy"]))
    assert run(["evaluate", *arguments]) == 2
    error = capfd.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_documentation_tables_are_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "generate.py"
    done = subprocess.run(
        [sys.executable, str(page), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
