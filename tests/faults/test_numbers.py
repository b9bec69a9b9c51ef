"""Numbers that really go wrong, through the commands: nothing of it is staged.

Weights diverge since the learning rate is absurd, a head has a NaN in its file, fp16
overflows. What is left behind makes the same step again, bit by bit.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from maou.cli.main import run

TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--no-export-onnx", "--epoch", "2", "--batch-size", "40")
VIT = ("--model-architecture", "vit", "--vit-embed-dim", "16", "--vit-num-layers", "1")
VIT += ("--vit-num-heads", "2")
ABSURD = ("--optimizer", "sgd", "--learning-ratio", "1e30", "--lr-scheduler", "none")
EVERY_STEP = ("--checkpoint-interval", "1steps")


@pytest.fixture(scope="module")
def data(tmp_path_factory, selfplay_rows) -> Path:
    """Three hcpe shards, preprocess records of them, and stage 1's records."""
    root = tmp_path_factory.mktemp("numbers")
    (root / "hcpe").mkdir()
    for number in range(3):
        rows = selfplay_rows[9000 * number : 9000 * number + 120]
        (root / "hcpe" / f"{number}.hcpe").write_bytes(rows.tobytes())
    source = ("--input-path", f"{root}/hcpe")
    for words in (
        ("pre-process", "--workers", "1", *source, "--output-dir", f"{root}/soft"),
        ("utility", "generate-stage1-data", "--output-dir", f"{root}/stage1"),
    ):
        assert run(list(words)) == 0
    return root


def _learn(tmp_path: Path, data: Path, *arguments: str) -> int:
    places = ("--model-dir", f"{tmp_path}/m", "--log-dir", f"{tmp_path}/l")
    source = () if "--stage" in arguments else ("--input-path", f"{data}/hcpe")
    given = [text.format(data=data) for text in (*source, *arguments)]
    return run(["learn-model", *TINY, *places, *given])


def _replay(bundle: Path, capfd, *arguments: str) -> dict:
    capfd.readouterr()
    code = run(["utility", "replay", str(bundle), "--json", "-", *arguments])
    report = json.loads(capfd.readouterr().out)
    assert code == (0 if report["reproduced"] else 1)
    return report


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _lines(tmp_path: Path) -> list[dict]:
    text = _only(tmp_path, "l/*/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


SOFT = ("--input-format", "preprocess", "--input-file-packed")
KINDS = {
    "hcpe": (),
    "dropout and accumulation": (*VIT, "--gradient-accumulation-steps", "2"),
    "preprocess": (*SOFT, "--input-path", "{data}/soft", "--no-streaming"),
    "stage 1": ("--stage", "1", "--stage1-data-path", "{data}/stage1"),
    "bf16": ("--precision", "bf16"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_diverging_run_stops_and_its_step_reproduces(tmp_path, data, capfd, kind):
    arguments = (*KINDS[kind], *ABSURD, *EVERY_STEP)
    assert _learn(tmp_path, data, *arguments) == 1
    said = capfd.readouterr().err
    assert said.count("Error: ") == 1
    assert "Traceback" not in said
    bundle = _only(tmp_path, "m/**/broken-step-*")
    assert f"maou utility replay {bundle}" in said
    number = int(bundle.name.rsplit("-", 1)[1])
    assert number > 1
    # What is kept is the step before, and it is finite.
    last = (bundle.parent / "last").resolve()
    assert last.name.endswith(f"step-{number - 1:08d}")
    assert str(last) in said
    assert all(
        bool(tensor.isfinite().all())
        for tensor in load_file(last / "model.safetensors").values()
    )
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors"):
        assert (bundle / name).read_bytes() == (last / name).read_bytes()
    report = _replay(bundle, capfd)
    assert report["reproduced"]
    assert report["same_losses"]
    assert report["same_gradients"] == report["of_gradients"] > 0
    assert report["step"] == number
    assert report["recorded"] in said
    # The last good state can be gone on from, and comes to the same step.
    assert run(["learn-model", "--resume-from", str(last)]) == 1
    again = _only(tmp_path, "m/**/broken-step-*.2")
    assert (again / "broken.json").read_bytes() == (bundle / "broken.json").read_bytes()


@pytest.fixture(scope="module")
def heads(tmp_path_factory, data) -> Path:
    """Part files of a trained network."""
    root = tmp_path_factory.mktemp("heads")
    assert _learn(root, data, "--save-split-params", "--epoch", "1") == 0
    return _only(root, "m/*").joinpath("best")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_the_replay_names_the_module_and_the_rows(tmp_path, data, heads, capfd, value):
    tensors = load_file(heads / "value_head.safetensors")
    tensors["outlook.bias"][0] = float(value)
    broken = tmp_path / "value_head.safetensors"
    save_file(tensors, broken)
    assert _learn(tmp_path, data, "--resume-value-head-from", str(broken)) == 1
    said = capfd.readouterr().err
    assert "step 1: the loss is not finite" in said
    assert "value_head.outlook.bias was not finite before" in said
    assert "There is no checkpoint yet" in said
    bundle = _only(tmp_path, "m/*/broken-step-00000001")
    report = _replay(bundle, capfd)
    assert report["reproduced"]
    assert report["first_in_forward"] == (
        "in value_head.outlook (its bias is not finite)"
    )
    assert report["rows"]["value_loss"] == list(range(40))
    assert "policy_loss" not in report["rows"]
    assert run(["utility", "replay", str(bundle)]) == 0
    assert "Reproduced: losses with the same bits" in capfd.readouterr().out
    # Cured, it is not reproduced.
    tensors = load_file(bundle / "model.safetensors")
    tensors["value_head.outlook.bias"][0] = 0.0
    save_file(tensors, bundle / "model.safetensors")
    assert run(["utility", "replay", str(bundle)]) == 2
    assert "do not match the manifest" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:Error detected in")
def test_anomaly_mode_names_the_operation_and_leaves_a_bundle(tmp_path, data, capfd):
    assert _learn(tmp_path, data, *ABSURD, "--detect-anomaly") == 1
    said = capfd.readouterr().err
    assert "--detect-anomaly: Function '" in said
    assert "returned nan values" in said
    report = _replay(_only(tmp_path, "m/*/broken-step-*"), capfd)
    assert report["reproduced"]
    assert report["operation"] in said


def test_an_update_that_overflows_is_never_saved(tmp_path, data, capfd):
    arguments = ("--optimizer", "sgd", "--learning-ratio", "1e300", *EVERY_STEP)
    assert _learn(tmp_path, data, *arguments) == 1
    assert "its update made parameter" in capfd.readouterr().err
    assert not list(tmp_path.glob("m/*/epoch-*"))


def test_a_folder_that_is_no_bundle_is_refused(heads, capfd):
    assert run(["utility", "replay", str(heads)]) == 2
    assert "not a bundle of a broken step" in capfd.readouterr().err


def test_overflows_of_fp16_are_skipped_counted_and_told(tmp_path, data, capfd):
    loud = ("--precision", "fp16", "--policy-loss-ratio", "1e4")
    assert _learn(tmp_path, data, *loud, "--health-interval", "1e-6") == 0
    said = capfd.readouterr()
    lines = _lines(tmp_path)
    events = [line for line in lines if line["kind"] == "overflow"]
    assert events
    assert [event["loss_scale"] for event in events] == [
        65536.0 / 2**n for n in range(1, len(events) + 1)
    ]
    training = [line for line in lines if line["kind"] == "training"]
    assert training[-1]["overflows"] == len(events)
    assert training[-1]["loss_scale"] == events[-1]["loss_scale"]
    assert said.err.count("fp16 overflow, not applied") == len(events)
    assert f"{len(events)} fp16 overflows (not applied)" in said.out
    state = json.loads((_only(tmp_path, "m/*") / "last" / "state.json").read_text())
    assert state["loss_scaler"]["scale"] == events[-1]["loss_scale"]
    assert state["numbers"]["overflows"] == len(events)


def test_overflow_at_the_least_scale_stops_and_reproduces(tmp_path, data, capfd):
    loud = ("--precision", "fp16", "--policy-loss-ratio", "1e9", "--epoch", "9")
    assert _learn(tmp_path, data, *loud) == 1
    said = capfd.readouterr().err
    assert "the gradients of" in said
    assert "or with --precision fp32" in said
    bundle = _only(tmp_path, "m/*/broken-step-*")
    state = json.loads((bundle / "state.json").read_text())
    assert state["loss_scaler"]["scale"] == 1.0
    assert state["numbers"]["overflows"] == 16
    report = _replay(bundle, capfd, "--no-detect-anomaly")
    assert report["reproduced"]
    assert report["same_gradients"] == report["of_gradients"]
    assert report["first_in_backward"].startswith("at the output of policy_head")
    assert report["operation"] == ""


def test_spikes_are_warned_of_and_skipped(tmp_path, data, capfd):
    small = ("--batch-size", "5", "--skip-loss-spikes", "1.02", "--epoch", "1")
    assert _learn(tmp_path, data, *small) == 0
    said = capfd.readouterr()
    events = [line for line in _lines(tmp_path) if line["kind"] == "loss_spike"]
    assert events
    assert all(event["skipped"] and event["factor"] > 1.02 for event in events)
    first = events[0]
    assert f"step {first['step']}: loss" in said.err
    assert f"{first['factor']:.1f} times the median of the 100 before" in said.err
    count = len(events)
    assert f"{count} loss spikes ({count} of them not applied)" in said.out


def test_every_precision_is_shown_and_trains(tmp_path, data, capfd):
    shown = {"fp32": "fp32", "bf16": "bf16 autocast", "fp16": "fp16 autocast with loss"}
    weights = set()
    for name, words in shown.items():
        folder = tmp_path / name
        arguments = ("--precision", name, "--epoch", "1")
        assert _learn(folder, data, *arguments) == 0
        assert f", {words}" in capfd.readouterr().err
        last = _only(folder, "m/*") / "last" / "model.safetensors"
        assert all(t.dtype == torch.float32 for t in load_file(last).values())
        weights.add(last.read_bytes())
    assert len(weights) == 3
