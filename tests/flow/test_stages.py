"""Staged training as a user runs it: stages 1, 2, 3 and all of them, on real data."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from maou.cli.main import run
from maou.config import RunConfig
from maou.model.config import LegalMovesHeadConfig, ModelConfig
from maou.model.network import LegalMovesNetwork
from maou.prepared import prepare_stages
from maou.sources.config import StageSourceConfig
from maou.stages import stages_of
from maou.train.compiled import CompiledForward
from maou.train.config import StageConfig
from maou.train.device import resolve_compute

TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--no-export-onnx",)
ONE = ("--stage1-max-epochs", "1", "--stage2-max-epochs", "1", "--epoch", "1")
LOW = ("--stage1-threshold", "0.01", "--stage2-threshold", "1e-9")
SIZES = ("--stage1-batch-size", "221", "--stage2-batch-size", "20")
STILL = "1e-12"
"""A learning rate that moves no parameter by more than 1e-9 or so."""


@dataclass(frozen=True)
class Result:
    """What a run left and said."""

    code: int
    folder: Path
    said: str

    def tensors(self, stage: str, link: str = "best") -> dict[str, Tensor]:
        """A stage's parameters, by name; stage 3's folder has no name."""
        return load_file(self.folder / stage / link / "model.safetensors")

    def state(self, stage: str) -> dict:
        """A stage's last state."""
        return json.loads((self.folder / stage / "last" / "state.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory, selfplay_rows) -> dict[str, Path]:
    """Records of each stage, made by the commands from 300 positions."""
    root = tmp_path_factory.mktemp("stages")
    names = ("hcpe", "stage1", "stage2", "soft")
    found = {name: root / name for name in names}
    found["hcpe"].mkdir()
    for number in range(3):
        rows = selfplay_rows[number * 100 : (number + 1) * 100]
        (found["hcpe"] / f"{number}.hcpe").write_bytes(rows.tobytes())
    source = ("--input-path", str(found["hcpe"]))
    for name, words in (
        ("stage1", ("utility", "generate-stage1-data")),
        (
            "stage2",
            (
                *("utility", "generate-stage2-data", *source),
                *("--shard-rows", "120", "--workers", "0"),
            ),
        ),
        ("soft", ("pre-process", *source, "--workers", "1", "--no-packed")),
    ):
        assert run([*words, "--output-dir", str(found[name])]) == 0
    return found


def _paths(data, *numbers: int) -> tuple[str, ...]:
    names = {1: "stage1", 2: "stage2", 3: "soft"}
    return tuple(
        word
        for number in numbers
        for word in (f"--stage{number}-data-path", str(data[names[number]]))
    )


class Learner:
    """Runs learn-model in a folder of its own."""

    def __init__(self, root: Path) -> None:
        """Remember the folder."""
        self.root = root

    def __call__(self, capfd, *arguments: str) -> Result:
        """Run, and find what it left."""
        places = (
            *("--model-dir", str(self.root / "models")),
            *("--log-dir", str(self.root / "logs")),
        )
        before = self.folders()
        capfd.readouterr()
        code = run(["learn-model", *places, *TINY, *arguments])
        said = capfd.readouterr()
        new = sorted(self.folders() - before)
        assert len(new) <= 1
        return Result(code, new[0] if new else self.root, said.err + said.out)

    def folders(self) -> set[Path]:
        """The runs' folders of models so far."""
        return set((self.root / "models").glob("*"))


@pytest.fixture
def learn(tmp_path) -> Learner:
    return Learner(tmp_path)


def _backbone(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith("backbone.") and tensor.is_floating_point()
    }


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between tensors of the same names."""
    assert one.keys() == other.keys()
    assert one
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: t for name, t in tensors.items() if name.startswith(f"{part}.")}


@pytest.fixture(scope="module")
def willing(tmp_path_factory) -> tuple[str, ...]:
    """Flags of a legal moves head that calls every move legal: F1 0.1 at once."""
    model = ModelConfig(resnet_blocks=1, resnet_channels=8)
    head = LegalMovesNetwork(model, LegalMovesHeadConfig()).legal_moves_head
    with torch.no_grad():
        head.label_bias_M.fill_(10.0)
    path = tmp_path_factory.mktemp("head") / "legal_moves_head.safetensors"
    save_file(dict(head.state_dict()), path)
    return ("--resume-legal-moves-head-from", str(path))


ALL = ("--stage", "all", *ONE, *LOW, *SIZES, "--batch-size", "50")
QUICK1 = ("--stage", "1", *ONE, *LOW, *SIZES, "--stage1-learning-rate", "0.05")
QUICK2 = ("--stage", "2", *ONE, *LOW, *SIZES, "--stage2-learning-rate", "0.05")
RATES1 = ("--stage1-learning-rate", "0.05", "--learning-ratio", STILL)


@pytest.fixture(scope="module")
def runs(data, willing, tmp_path_factory) -> list[Result]:
    """Two runs of all stages in the same folders.

    The first trains only stage 1 to speak of; the second stages 1 and 2, from another
    seed. What does not move shows where its backbone came from.
    """
    root = tmp_path_factory.mktemp("all")
    places = ("--model-dir", f"{root}/models", "--log-dir", f"{root}/logs")
    made: list[Result] = []
    for seed, second in (("1", STILL), ("2", "0.05")):
        arguments = (
            *(*TINY, *ALL, *_paths(data, 1, 2, 3), *willing, *RATES1),
            *("--seed", seed, "--stage2-learning-rate", second),
        )
        assert run(["learn-model", *places, *arguments]) == 0
        known = [result.folder for result in made]
        (new,) = (path for path in (root / "models").iterdir() if path not in known)
        made.append(Result(0, new, ""))
    return made


def test_each_stage_starts_from_the_backbone_of_the_one_before(runs):
    first, second = runs
    for result in runs:
        assert [result.state(name)["epoch"] for name in ("stage1", "stage2", "")] == [
            1,
            1,
            1,
        ]
        assert (result.folder / "best" / "model.safetensors").exists()
    backbones = {
        (number, name): _backbone(result.tensors(name))
        for number, result in enumerate(runs)
        for name in ("stage1", "stage2", "")
    }
    # Stage 2 of the first run stood still on its own stage 1, stage 3 on that.
    assert _distance(backbones[0, "stage2"], backbones[0, "stage1"]) < 1e-8
    assert _distance(backbones[0, ""], backbones[0, "stage1"]) < 1e-8
    # Stage 3 of the second run stood still on its own stage 2, which had moved.
    assert _distance(backbones[1, ""], backbones[1, "stage2"]) < 1e-8
    assert _distance(backbones[1, "stage2"], backbones[1, "stage1"]) > 1e-3
    assert _distance(backbones[1, "stage1"], backbones[0, "stage1"]) > 1e-3
    for result, stages in ((first, ("1", "2", "3")), (second, ("1", "2", "3"))):
        logs = result.folder.parents[1] / "logs" / result.folder.name
        written = [logs / "stage1", logs / "stage2", logs]
        assert all((folder / "metrics.jsonl").exists() for folder in written), stages


def test_a_stage_alone_equals_that_stage_of_all(runs, data, learn, capfd):
    alone = learn(
        capfd,
        *("--stage", "1", *ONE, *LOW, *SIZES, *_paths(data, 1), "--seed", "1"),
        *("--batch-size", "50", "--stage1-learning-rate", "0.05"),
    )
    assert alone.code == 0
    left = {path.name for path in alone.folder.iterdir()}
    assert left == {"run.lock", "run.toml", "stage1"}
    assert not (alone.folder / "best").exists()
    assert _distance(alone.tensors("stage1"), runs[0].tensors("stage1")) == 0.0


def test_the_run_record_repeats_a_staged_run(runs, learn, capfd):
    again = learn(capfd, "--config", str(runs[1].folder / "run.toml"))
    assert again.code == 0, again.said
    for stage in ("stage1", "stage2", ""):
        assert _distance(again.tensors(stage), runs[1].tensors(stage)) == 0.0


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_evaluate_says_what_a_checkpoint_of_an_early_stage_is(runs, data, capfd, stage):
    capfd.readouterr()
    model = ("--model", str(runs[0].folder / stage))
    assert run(["evaluate", *model, "--input-path", str(data["hcpe"])]) == 2
    error = capfd.readouterr().err
    assert error.count("Error") == 1
    assert "policy and value (stage 3)" in error


@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        ("vit", ("--vit-embed-dim", "8", "--vit-num-heads", "2")),
        ("mlp-mixer", ("--mixer-embed-dim", "8", "--mixer-token-dim", "8")),
    ],
)
def test_the_other_backbones_run_all_stages(
    data, willing, learn, capfd, architecture, sizes
):
    layers = "vit" if architecture == "vit" else "mixer"
    source = ("--input-path", str(data["soft"]))  # in place of --stage3-data-path
    result = learn(
        capfd,
        *("--model-architecture", architecture, *sizes, f"--{layers}-num-layers", "1"),
        *(*ALL, *_paths(data, 1, 2), *source, *willing, "--freeze-backbone"),
    )
    assert result.code == 0, result.said
    backbones = [_backbone(result.tensors(stage)) for stage in ("stage1", "stage2", "")]
    assert _distance(backbones[0], backbones[1]) > 1e-4
    # --freeze-backbone is stage 3's alone.
    assert _distance(backbones[1], backbones[2]) == 0.0


@pytest.mark.parametrize("mode", ["--streaming", "--no-streaming"])
def test_stage_2_alone(data, learn, capfd, mode):
    result = learn(capfd, *QUICK2, *_paths(data, 2), mode, "--stage2-threshold", "1")
    assert result.code == 1
    assert result.state("stage2")["rows"] == 300
    assert result.state("stage2")["last"]["rows"] == 300
    assert "none held out" in result.said
    shown = "streamed" if mode == "--streaming" else "held in memory"
    assert shown in result.said


def test_the_held_out_positions_are_the_same_in_both_modes(data, learn, capfd):
    results = [
        learn(
            capfd,
            *(*QUICK2, *_paths(data, 2), mode, "--stage2-test-ratio", "0.3"),
            *("--stage2-learning-rate", STILL),
        )
        for mode in ("--streaming", "--no-streaming")
    ]
    measured = [result.state("stage2")["last"] for result in results]
    assert measured[0] == pytest.approx(measured[1], rel=1e-6)
    for result in results:
        state = result.state("stage2")
        assert state["rows"] + state["last"]["rows"] == 300
        assert 50 < state["last"]["rows"] < 130
        assert "split by row" in result.said
        assert "0.0% of them also occur in training" in result.said


def test_workers_change_no_bit(data, learn, capfd):
    states = [
        learn(
            capfd,
            *(*QUICK2, *_paths(data, 2), "--mirror-probability", "0.5"),
            *("--dataloader-workers", workers, "--shuffle-rows", "70"),
        ).tensors("stage2", "last")
        for workers in ("0", "2")
    ]
    assert _distance(*states) == 0.0


def test_accumulation_equals_the_big_batch(data, learn, capfd):
    sgd = ("--optimizer", "sgd", "--momentum", "0.9", "--stage2-learning-rate", "1")
    big, parts = (
        learn(
            capfd,
            *(*QUICK2, *_paths(data, 2), *sgd, "--stage2-batch-size", size),
            *("--gradient-accumulation-steps", steps, "--stage2-max-epochs", "2"),
        )
        for size, steps in (("60", "1"), ("20", "3"))
    )
    assert big.state("stage2")["step"] == parts.state("stage2")["step"] == 10
    ours, theirs = (result.tensors("stage2", "last") for result in (big, parts))
    assert _distance(ours, theirs) < 1e-5
    fresh = learn(capfd, *QUICK2, *_paths(data, 2), "--stage2-learning-rate", STILL)
    assert _distance(ours, fresh.tensors("stage2", "last")) > 1e-3


def test_below_the_threshold_the_run_stops_and_says_how_to_go_on(data, learn, capfd):
    all_paths = _paths(data, 1, 2, 3)
    failed = learn(capfd, *ALL, *all_paths, "--stage1-threshold", "1")
    assert failed.code == 1
    (error,) = (line for line in failed.said.splitlines() if "Error" in line)
    value = failed.state("stage1")["last"]["element_accuracy"]
    assert f"element accuracy {value:.4f} after epoch 1" in error
    assert "below --stage1-threshold 1." in error
    assert (failed.folder / "stage1" / "best" / "model.safetensors").exists()
    assert not (failed.folder / "stage2").exists()
    assert not (failed.folder / "last").exists()
    (command,) = (line for line in failed.said.splitlines() if "--resume-from" in line)
    words = shlex.split(command)
    assert words[:2] == ["maou", "learn-model"]
    assert run([*words[1:], "--stage1-threshold", "0.01"]) == 1  # F1 is still 0
    assert (failed.folder / "stage2" / "last" / "model.safetensors").exists()


def test_saved_parts_start_the_heads_of_their_stages(data, learn, capfd):
    first = learn(capfd, *QUICK1, *_paths(data, 1), "--save-split-params")
    part = first.folder / "stage1" / "last" / "reachable_head.safetensors"
    assert part.exists()
    flag = ("--resume-reachable-head-from", str(part))
    still = ("--seed", "8", "--stage1-learning-rate", STILL)
    second = learn(capfd, *QUICK1, *_paths(data, 1), *flag, *still)
    ours, theirs = first.tensors("stage1"), second.tensors("stage1")
    assert _distance(*(_part(t, "reachable_head") for t in (ours, theirs))) < 1e-8
    assert _distance(_backbone(ours), _backbone(theirs)) > 1e-3
    wrong = ("--resume-legal-moves-head-from", str(part))
    refused = learn(capfd, *QUICK2, *_paths(data, 2), *wrong)
    assert refused.code == 2
    assert "holds a reachable_head, not a legal_moves_head" in refused.said
    assert refused.folder == learn.root  # nothing was written


def test_a_legal_moves_head_is_loaded_and_a_misfit_refused(runs, data, learn, capfd):
    start = runs[1].folder / "stage2"
    flag = ("--resume-legal-moves-head-from", str(start))
    still = ("--stage2-learning-rate", STILL, *_paths(data, 2))
    result = learn(capfd, *QUICK2, *still, *flag)
    heads = [
        _part(tensors, "legal_moves_head")
        for tensors in (result.tensors("stage2"), runs[1].tensors("stage2"))
    ]
    assert _distance(*heads) < 1e-8
    refused = learn(capfd, *QUICK2, *still, *flag, "--stage2-hidden-dim", "4")
    assert refused.code == 2
    assert "--resume-legal-moves-head-from" in refused.said
    assert "Missing: hidden.0." in refused.said
    other = ("--resume-legal-moves-head-from", str(runs[1].folder / "stage1"))
    refused = learn(capfd, *QUICK2, *still, *other)
    assert refused.code == 2
    assert "Missing: classes" in refused.said


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hcpe for stage 3": (
        ("--stage", "3", "--stage3-data-path", "{hcpe}"),
        ("--stage3-data-path", "{hcpe}", "maou pre-process"),
    ),
    "hcpe for stage 3 as the input": (
        ("--stage", "3", "--input-path", "{hcpe}"),
        ("--input-path", "{hcpe}", "maou pre-process"),
    ),
    "two sources": (
        ("--input-path", "{soft}", "--stage3-data-path", "{soft}"),
        ("--input-path and --stage3-data-path",),
    ),
    "stage 1 without data": (
        ("--stage", "1"),
        ("needs --stage1-data-path", "generate-stage1-data"),
    ),
    "stage 2 without data": (
        ("--stage", "2", "--stage1-data-path", "{stage1}"),
        ("needs --stage2-data-path", "generate-stage2-data"),
    ),
    "all without stage 1": (
        ("--stage", "all", "--stage2-data-path", "{stage2}", "--input-path", "{soft}"),
        ("--stage all needs --stage1-data-path",),
    ),
    "all without stage 3": (
        (
            *("--stage", "all", "--stage1-data-path", "{stage1}"),
            *("--stage2-data-path", "{stage2}"),
        ),
        ("--stage all needs --stage3-data-path (or --input-path)", "pre-process"),
    ),
    "stage 3 without data": (
        ("--stage", "3"),
        ("--stage 3 needs --stage3-data-path",),
    ),
    "no source at all": ((), ("--input-path: is required",)),
    "data of another stage": (
        ("--stage", "1", "--stage1-data-path", "{stage2}"),
        ("--stage1-data-path", "stage2-00000.npy"),
    ),
    "two ways to weigh moves": (
        (
            *("--stage", "2", "--stage2-data-path", "{stage2}"),
            *("--stage2-gamma-neg", "2", "--stage2-pos-weight", "3"),
        ),
        ("--stage2-pos-weight 3", "--stage2-gamma-neg"),
    ),
    "nothing to drop": (
        (
            *("--stage", "2", "--stage2-data-path", "{stage2}"),
            *("--stage2-head-dropout", "0.5"),
        ),
        ("--stage2-head-dropout 0.5", "--stage2-hidden-dim"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_contradictions_are_one_message_and_exit_code_2(data, learn, capfd, name):
    arguments, says = REFUSED[name]
    result = learn(capfd, *(text.format(**data) for text in arguments))
    assert result.code == 2, result.said
    assert result.said.count("Error:") == 1
    for text in says:
        assert text.format(**data) in result.said
    assert not learn.folders()


def test_settings_of_stages_that_do_not_run_are_named(runs, data, learn, capfd):
    start = str(runs[0].folder)
    idle = {
        "--resume-reachable-head-from": f"{start}/stage1",
        "--resume-policy-head-from": start,
        "--stage1-learning-rate": "0.5",
        "--stage1-data-path": str(data["stage1"]),
        "--epoch": "3",
        "--gce-parameter": "0.5",
        "--trainable-layers": "1",
    }
    given = [word for pair in idle.items() for word in pair]
    stage = ("--stage", "2", *_paths(data, 2), "--dry-run")
    result = learn(capfd, *stage, "--resume-backbone-from", f"{start}/stage1", *given)
    assert result.code == 0, result.said
    named = re.findall(r"(--[a-z0-9-]+) has no effect: --stage 2", result.said)
    assert set(named) == {*idle, "--no-export-onnx"}
    assert "keeps random parameters" not in result.said


def test_a_dry_run_shows_three_plans_and_writes_nothing(data, learn, capfd):
    result = learn(capfd, *ALL, *_paths(data, 1, 2, 3), "--dry-run")
    assert result.code == 0, result.said
    plans = re.findall(r"^Stage (\d): ", result.said, re.MULTILINE)
    assert list(dict.fromkeys(plans)) == ["1", "2", "3"]
    assert result.said.count("data fingerprint") == 3
    assert result.said.count("Dry run: ") == 3
    assert "backbone of stage 1" in result.said
    assert "backbone of stage 2" in result.said
    assert not list(learn.root.iterdir())


def test_stages_1_and_2_are_compiled_by_a_flag_of_their_own(data):
    config = RunConfig(
        model=ModelConfig(resnet_blocks=1, resnet_channels=8),
        stages=StageConfig(stage="all", stage12_compilation=True),
        stage_source=StageSourceConfig(
            *(data[n] for n in ("stage1", "stage2", "soft"))
        ),
    )
    prepared = prepare_stages(stages_of(config), resolve_compute("cpu"))
    compiled = [
        isinstance(one.trainer.forward_of(one.network), CompiledForward)
        for one in prepared
    ]
    assert compiled == [True, True, False]
