"""Every backbone through the commands: training, freezing, warm starts, part files."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from maou.cli.main import run
from maou.train.compiled import CompiledForward

SMALL = {
    "resnet": ("--resnet-blocks", "2", "--resnet-channels", "8"),
    "mlp-mixer": (
        *("--mixer-embed-dim", "16", "--mixer-num-layers", "2"),
        *("--mixer-token-dim", "12"),
    ),
    "vit": ("--vit-embed-dim", "16", "--vit-num-layers", "2", "--vit-num-heads", "2"),
}
every = pytest.mark.parametrize("name", SMALL)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, selfplay_rows) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in range(4):
        rows = selfplay_rows[number * 300 : (number + 1) * 300]
        (folder / f"{number}.hcpe").write_bytes(rows.tobytes())
    return folder


def _arguments(tmp_path: Path, shards: Path, name: str, *arguments: str) -> list[str]:
    return [
        *("learn-model", "--input-path", str(shards), "--gpu", "cpu"),
        *("--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l")),
        *("--epoch", "1", "--batch-size", "100", "--model-architecture", name),
        *(*SMALL[name], "--no-export-onnx"),
        *arguments,
    ]


def _learn(tmp_path: Path, shards: Path, name: str, *arguments: str) -> Path:
    assert run(_arguments(tmp_path, shards, name, *arguments)) == 0
    (folder,) = (tmp_path / "m").iterdir()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shards) -> Callable[[str], Path]:
    """Train a backbone once, when it is first asked for; gives its run's folder."""
    found: dict[str, Path] = {}

    def train(name: str) -> Path:
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            flags = ("--no-streaming", "--save-split-params", "--export-onnx")
            found[name] = _learn(folder, shards, name, *flags)
        return found[name]

    return train


def _weights(run_folder: Path) -> dict[str, torch.Tensor]:
    return load_file(run_folder / "last" / "model.safetensors")


def test_workers_do_not_change_what_is_dropped(tmp_path, shards, trained):
    """Dropout draws from torch's generator, which must not see the loader."""
    flags = ("--no-streaming", "--dataloader-workers", "1")
    helped = _learn(tmp_path, shards, "vit", *flags)
    files = [run / "last" / "model.safetensors" for run in (trained("vit"), helped)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["mlp-mixer", "vit"])
def test_what_is_evaluated_is_what_was_trained(shards, trained, name, capfd):
    folder = trained(name)
    state = json.loads((folder / "best" / "state.json").read_text())
    for model in (folder, folder / "best.onnx"):
        capfd.readouterr()
        arguments = ("--model", str(model), "--split", "validation", "--gpu", "cpu")
        source = ("--input-path", str(shards))
        assert run(["evaluate", *arguments, *source, "--json", "-"]) == 0
        found = json.loads(capfd.readouterr().out)["metrics"]
        wanted = state["best"]["total"]["metrics"]
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@every
def test_frozen_parameters_stay_and_the_others_change(
    tmp_path, shards, trained, name, capfd
):
    first = trained(name)
    capfd.readouterr()
    second = _learn(
        tmp_path,
        shards,
        name,
        *("--resume-backbone-from", str(first), "--trainable-layers", "1"),
        *("--seed", "5"),
    )
    shown = " ".join(capfd.readouterr().err.split())
    assert f"warm start backbone of {first} " in shown
    frozen = re.search(r"frozen ([\d,]+) parameters \(([^)]*)\)", shown)
    assert frozen is not None
    assert [part.rpartition(" ")[0] for part in frozen[2].split(", ")] == [
        "embedding",
        "hand projection",
        "group 1",
    ]
    before, after = _weights(first), _weights(second)
    group = "stages.1." if name == "resnet" else "blocks.1."
    kept = 0
    for key, tensor in after.items():
        trained_here = not key.startswith("backbone.") or (
            key.startswith(("backbone.final_norm.", f"backbone.trunk.{group}"))
        )
        assert torch.equal(tensor, before[key]) is not trained_here, key
        kept += 0 if trained_here else tensor.numel()
    assert kept == int(frozen[1].replace(",", ""))


def test_a_frozen_backbone_and_heads_of_a_part_file(tmp_path, shards, trained):
    first = trained("vit")
    second = _learn(
        tmp_path,
        shards,
        "vit",
        *("--resume-backbone-from", str(first / "last" / "backbone.safetensors")),
        *("--resume-policy-head-from", str(first / "best/policy_head.safetensors")),
        *("--resume-value-head-from", str(first / "best" / "model.safetensors")),
        "--freeze-backbone",
    )
    before = _weights(first)
    for key, tensor in _weights(second).items():
        assert torch.equal(tensor, before[key]) is key.startswith("backbone."), key
    ended = json.loads((first / "best" / "state.json").read_text())["best"]["total"]
    lines = (tmp_path / "l" / second.name / "metrics.jsonl").read_text()
    began = json.loads(lines.splitlines()[0])
    assert began["policy_cross_entropy"] == pytest.approx(
        ended["metrics"]["policy_cross_entropy"], rel=1e-6
    )
    assert not (second / "last" / "backbone.safetensors").exists()


def test_sources_and_layers_that_do_not_fit(tmp_path, shards, trained, capfd):
    first = trained("vit")
    cases = (
        (
            ("--resume-backbone-from", str(first)),
            f"--resume-backbone-from {first}: does not fit the backbone of this resnet",
        ),
        (("--resume-value-head-from", "absent"), "absent: no such file or folder"),
        (("--trainable-layers", "3"), "this resnet backbone has 2 layer groups"),
        (
            ("--trainable-layers", "1", "--freeze-backbone"),
            "--trainable-layers 1 contradicts --freeze-backbone",
        ),
    )
    for flags, says in cases:
        capfd.readouterr()
        assert run(_arguments(tmp_path, shards, "resnet", *flags)) == 2
        error = capfd.readouterr().err
        assert says in " ".join(error.split())
        assert "Traceback" not in error
        assert list(tmp_path.iterdir()) == []


def test_sizes_of_another_backbone_are_named(tmp_path, shards, capfd):
    flags = (*SMALL["vit"], "--freeze-backbone", "--dry-run")
    assert run(_arguments(tmp_path, shards, "resnet", *flags)) == 0
    shown = " ".join(capfd.readouterr().err.split())
    for flag in ("--vit-embed-dim", "--vit-num-layers", "--vit-num-heads"):
        assert f"{flag} has no effect: --model-architecture is resnet" in shown
    assert "--resnet-blocks has no effect" not in shown
    assert "keeps random parameters" in shown


def test_a_run_compiles_once_to_train_and_once_to_validate(
    tmp_path, shards, monkeypatch
):
    """Three epochs with a smaller last batch; with torch's own counters.

    Without the last step, minutes of a C++ compiler, which does not look at shapes.
    """
    monkeypatch.setattr(CompiledForward.__init__, "__defaults__", ("aot_eager",))
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    sizes = ("--resnet-blocks", "1", "--resnet-channels", "4", "--epoch", "3")
    _learn(tmp_path, shards, "resnet", *sizes, "--compilation")
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
