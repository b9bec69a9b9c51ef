"""Every flag of learn-model does something that a user can observe.

One row a flag: what is added to a base run, and what must differ from it (or the words
that must appear). A flag without a row fails the first test.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maou.cli.learn_model import command
from maou.cli.main import run
from maou.cli.options import setting_options

BASE = (
    *("--gpu", "cpu", "--resnet-blocks", "2", "--resnet-channels", "8"),
    *("--epoch", "1", "--batch-size", "50", "--health-interval", "1000"),
    "--no-export-onnx",  # nine tenths of the time of so small a run
)
VIT: tuple[str, ...] = (
    *("--model-architecture", "vit", "--vit-embed-dim", "16"),
    *("--vit-num-layers", "1", "--vit-num-heads", "2"),
)
MIXER = ("--model-architecture", "mlp-mixer", "--mixer-embed-dim", "16")
MIXER += ("--mixer-num-layers", "1")

# Staged runs name their data themselves: `_run` then leaves --input-path out.
DATA1 = ("--stage1-data-path", "{stage1}", "--stage1-threshold", "0.01")
DATA1 += ("--stage1-max-epochs", "1", "--stage1-batch-size", "221")
DATA2 = ("--stage2-data-path", "{stage2}", "--stage2-threshold", "1")
DATA2 += ("--stage2-max-epochs", "1", "--stage2-batch-size", "20")
DATA2 += ("--stage2-learning-rate", "0.1")
STAGE1 = ("--stage", "1", *DATA1)
STAGE2 = ("--stage", "2", *DATA2)
STAGE3 = ("--stage", "3", "--stage3-data-path", "{soft}", "--input-file-packed")
HIDDEN = ("--stage2-hidden-dim", "8")
EPOCHS1 = (*STAGE1, "--stage1-max-epochs", "2")
EPOCHS2 = (*STAGE2, "--stage2-max-epochs", "2")
FAR1 = (*STAGE1, "--stage1-threshold", "1")


@dataclass(frozen=True)
class Outcome:
    """What a run left and said."""

    code: int
    folder: Path | None
    logs: Path | None
    errors: str
    output: str

    @property
    def checkpoints(self) -> dict[str, Path]:
        """The last checkpoint of every stage, by its folder below the run's."""
        assert self.folder is not None, self.errors
        places = {
            name: self.folder / name / "last" for name in ("stage1", "stage2", "")
        }
        found = {name: path for name, path in places.items() if path.exists()}
        assert found, self.errors
        return found

    @property
    def weights(self) -> dict[str, str]:
        """Hash of each stage's last parameters."""
        return {
            name: hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
            for name, path in self.checkpoints.items()
        }

    def counted(self, name: str) -> dict[str, int]:
        """A counter of each stage's last state."""
        return {
            stage: json.loads((path / "state.json").read_text())[name]
            for stage, path in self.checkpoints.items()
        }


@dataclass(frozen=True)
class Row:
    """One flag: the arguments that change it, and what must come of it.

    Exactly one of `differs` (a value of the outcome that must not be the base's) and
    `says` (words that only the changed run prints) is given; `base` are arguments that
    both runs get.
    """

    add: tuple[str, ...]
    differs: Callable[[Outcome], object] | None = None
    says: str = ""
    base: tuple[str, ...] = ()
    code: int = 0
    """Exit code of the changed run: a stage below its threshold ends with 1."""


def idle(flag: str, *value: str) -> Row:
    """Make the row of a flag that is named because it cannot matter in the base run."""
    return Row((flag, *value), says=f"{flag} has no effect")


def weights(outcome: Outcome) -> object:
    return outcome.weights


def rows(outcome: Outcome) -> object:
    return outcome.counted("rows")


def steps(outcome: Outcome) -> object:
    return outcome.counted("step")


def health_lines(outcome: Outcome) -> object:
    assert outcome.logs is not None
    text = (outcome.logs / "metrics.jsonl").read_text()
    return sum(json.loads(line)["kind"] == "training" for line in text.splitlines())


def histograms(outcome: Outcome) -> object:
    events = EventAccumulator(str(outcome.logs)).Reload()
    return sorted(events.Tags()["histograms"])


def model_parent(outcome: Outcome) -> object:
    assert outcome.folder is not None
    return outcome.folder.parent.name


def log_parent(outcome: Outcome) -> object:
    assert outcome.logs is not None
    return outcome.logs.parent.name


def models(outcome: Outcome) -> object:
    assert outcome.folder is not None
    return sorted(path.name for path in outcome.folder.glob("*.onnx"))


def files(outcome: Outcome) -> object:
    (last,) = outcome.checkpoints.values()
    return sorted(path.name for path in last.iterdir())


def kept(outcome: Outcome) -> object:
    assert outcome.folder is not None
    return len(list(outcome.folder.glob("epoch-*")))


def stages(outcome: Outcome) -> object:
    return sorted(outcome.checkpoints)


STOP = ("--epoch", "9", "--learning-ratio", "0.3")
HISTOGRAMS = ("--tensorboard-histogram-frequency", "1")

ROWS: dict[str, Row] = {
    "--dry-run": Row(("--dry-run",), says="Dry run: "),
    "--export-onnx": Row(("--export-onnx",), models),
    "--resume-from": Row(("--resume-from", "{tmp}"), says="no sound checkpoint"),
    "--allow-changed-data": Row(
        ("--allow-changed-data",), says="--allow-changed-data needs --resume-from"
    ),
    "--checkpoint-interval": Row(
        ("--checkpoint-interval", "1steps"), says="every 1steps and each epoch"
    ),
    "--keep": Row(("--keep", "all"), kept, base=("--checkpoint-interval", "1steps")),
    "--config": Row(("--config", "{config}"), rows),
    "--input-path": Row(("--input-path", "{other}"), weights),
    "--input-format": Row(("--input-format", "preprocess"), says="holds hcpe records"),
    "--input-file-packed": Row(("--input-file-packed",), says="has no effect"),
    "--input-cache-mode": Row(("--input-cache-mode", "mmap"), says="deprecated"),
    # What these do with a store is in test_object_stores.
    "--input-gcs": Row(("--input-gcs",), says="--input-path and --input-gcs both name"),
    "--input-s3": Row(("--input-s3",), says="--input-path and --input-s3 both name"),
    "--input-bucket-name": idle("--input-bucket-name", "x"),
    "--input-prefix": idle("--input-prefix", "x"),
    "--input-data-name": idle("--input-data-name", "x"),
    "--input-local-cache-dir": idle("--input-local-cache-dir", "{tmp}/cache"),
    "--input-local-cache": idle("--no-input-local-cache"),
    "--input-max-cached-bytes": idle("--input-max-cached-bytes", "1"),
    "--input-max-workers": idle("--input-max-workers", "1"),
    "--input-enable-bundling": idle("--input-enable-bundling"),
    "--input-bundle-size-gb": idle("--input-bundle-size-gb", "2"),
    # And what these do with a table is in test_bigquery_source.
    "--input-dataset-id": Row(
        ("--input-dataset-id", "x"), says="--input-path and --input-dataset-id both"
    ),
    "--input-table-name": Row(
        ("--input-table-name", "x"), says="--input-path and --input-table-name both"
    ),
    "--input-batch-size": idle("--input-batch-size", "5"),
    "--input-clustering-key": idle("--input-clustering-key", "id"),
    "--input-partitioning-key-date": idle("--input-partitioning-key-date", "day"),
    # What these do with a store is in test_uploads.
    "--output-gcs": Row(
        ("--output-gcs",),
        says="--output-gcs also needs --gcs-bucket-name and --gcs-base-path",
    ),
    "--output-s3": Row(
        ("--output-s3",),
        says="--output-s3 also needs --s3-bucket-name and --s3-base-path",
    ),
    "--gcs-bucket-name": idle("--gcs-bucket-name", "x"),
    "--gcs-base-path": idle("--gcs-base-path", "x"),
    "--s3-bucket-name": idle("--s3-bucket-name", "x"),
    "--s3-base-path": idle("--s3-base-path", "x"),
    "--upload-timeout": idle("--upload-timeout", "9"),
    "--batch-size": Row(("--batch-size", "25"), steps),
    "--test-ratio": Row(("--test-ratio", "0.99"), rows),
    "--seed": Row(("--seed", "1"), weights),
    "--mirror-probability": Row(("--mirror-probability", "0.5"), weights),
    "--streaming": Row(("--no-streaming",), says="held in memory"),
    "--shuffle-rows": Row(("--shuffle-rows", "40"), weights),
    "--dataloader-workers": Row(
        ("--dataloader-workers", "1"), says="--dataloader-workers 1"
    ),
    "--prefetch-factor": Row(("--prefetch-factor", "2"), says="has no effect"),
    "--cache-transforms": Row(
        ("--cache-transforms", "--dataloader-workers", "1"),
        says="--cache-transforms has no effect",
    ),
    "--loader-timeout": Row(
        ("--loader-timeout", "0.001", "--dataloader-workers", "1"),
        says="no batch came for 0.001 s",
    ),
    "--pin-memory": Row(("--pin-memory",), says="--pin-memory has no effect"),
    "--epoch": Row(("--epoch", "2"), steps),
    "--start-epoch": Row(("--start-epoch", "3"), says="after epoch 4"),
    "--gradient-accumulation-steps": Row(("--gradient-accumulation-steps", "2"), steps),
    "--early-stopping-patience": Row(
        ("--early-stopping-patience", "1"), steps, base=STOP
    ),
    "--early-stopping-metric": Row(
        ("--early-stopping-metric", "value"), says="it needs --early-stopping-patience"
    ),
    "--skip-loss-spikes": Row(
        ("--skip-loss-spikes", "1.01"), weights, base=("--batch-size", "5")
    ),
    "--gpu": Row(("--gpu", "meta"), says="meta"),
    "--precision": Row(("--precision", "bf16"), weights),
    "--compilation": Row(
        ("--compilation", "--dry-run"), says="--compilation  (command line)"
    ),
    "--detect-anomaly": Row(
        ("--detect-anomaly", "--optimizer", "sgd", "--learning-ratio", "1e30"),
        says="nan",
    ),
    "--model-architecture": Row(VIT, weights),
    "--resnet-blocks": Row(("--resnet-blocks", "1"), weights),
    "--resnet-channels": Row(("--resnet-channels", "16"), weights),
    "--gradient-checkpointing": Row(
        ("--gradient-checkpointing",), says="--gradient-checkpointing"
    ),
    "--freeze-backbone": Row(("--freeze-backbone",), weights),
    "--trainable-layers": Row(("--trainable-layers", "1"), weights),
    "--gce-parameter": Row(("--gce-parameter", "0.7"), weights),
    "--policy-loss-ratio": Row(("--policy-loss-ratio", "3"), weights),
    "--value-loss-ratio": Row(("--value-loss-ratio", "3"), weights),
    "--learning-ratio": Row(("--learning-ratio", "0.002"), weights),
    "--optimizer": Row(("--optimizer", "sgd"), weights),
    "--momentum": Row(("--momentum", "0.1"), weights, base=("--optimizer", "sgd")),
    "--optimizer-beta1": Row(("--optimizer-beta1", "0.5"), weights),
    "--optimizer-beta2": Row(("--optimizer-beta2", "0.95"), weights),
    "--optimizer-eps": Row(("--optimizer-eps", "0.01"), weights),
    "--weight-decay": Row(("--weight-decay", "0.5"), weights),
    "--lr-scheduler": Row(("--lr-scheduler", "CosineAnnealingLR"), weights),
    "--mixer-embed-dim": Row(("--mixer-embed-dim", "24"), weights, base=MIXER),
    "--mixer-num-layers": Row(("--mixer-num-layers", "2"), weights, base=MIXER),
    "--mixer-token-dim": Row(("--mixer-token-dim", "24"), weights, base=MIXER),
    "--mixer-mlp-ratio": Row(("--mixer-mlp-ratio", "2"), weights, base=MIXER),
    "--mixer-dropout": Row(("--mixer-dropout", "0.5"), weights, base=MIXER),
    "--vit-embed-dim": Row(("--vit-embed-dim", "24"), weights, base=VIT),
    "--vit-num-layers": Row(("--vit-num-layers", "2"), weights, base=VIT),
    "--vit-num-heads": Row(("--vit-num-heads", "4"), weights, base=VIT),
    "--vit-mlp-ratio": Row(("--vit-mlp-ratio", "2"), weights, base=VIT),
    "--vit-dropout": Row(("--vit-dropout", "0.5"), weights, base=VIT),
    "--resume-backbone-from": Row(("--resume-backbone-from", "{start}"), weights),
    "--resume-policy-head-from": Row(("--resume-policy-head-from", "{start}"), weights),
    "--resume-value-head-from": Row(("--resume-value-head-from", "{start}"), weights),
    "--save-split-params": Row(("--save-split-params",), files),
    "--model-dir": Row(("--model-dir", "{tmp}/elsewhere"), model_parent),
    "--log-dir": Row(("--log-dir", "{tmp}/elsewhere"), log_parent),
    "--health-interval": Row(("--health-interval", "0.000001"), health_lines),
    "--tensorboard-histogram-frequency": Row(HISTOGRAMS, histograms),
    "--tensorboard-histogram-module": Row(
        ("--tensorboard-histogram-module", "value_head.*"), histograms, base=HISTOGRAMS
    ),
    "--stage": Row(STAGE1, stages),
    "--stage1-data-path": Row(("--stage1-data-path", "{cases}"), weights, base=STAGE1),
    "--stage2-data-path": Row(
        ("--stage2-data-path", "{moves}"), weights, base=STAGE2, code=1
    ),
    "--stage3-data-path": Row(
        ("--stage3-data-path", "{soft}/train"), weights, base=STAGE3
    ),
    "--stage1-threshold": Row(("--stage1-threshold", "1"), steps, base=EPOCHS1, code=1),
    "--stage2-threshold": Row(("--stage2-threshold", "1e-9"), steps, base=EPOCHS2),
    "--stage1-max-epochs": Row(("--stage1-max-epochs", "2"), steps, base=FAR1, code=1),
    "--stage2-max-epochs": Row(
        ("--stage2-max-epochs", "2"), steps, base=STAGE2, code=1
    ),
    "--stage1-batch-size": Row(("--stage1-batch-size", "553"), steps, base=STAGE1),
    "--stage2-batch-size": Row(
        ("--stage2-batch-size", "30"), steps, base=STAGE2, code=1
    ),
    "--stage1-learning-rate": Row(
        ("--stage1-learning-rate", "0.002"), weights, base=STAGE1
    ),
    "--stage2-learning-rate": Row(
        ("--stage2-learning-rate", "0.15"), weights, base=STAGE2, code=1
    ),
    "--stage12-lr-scheduler": Row(
        ("--stage12-lr-scheduler", "CosineAnnealingLR"), weights, base=STAGE1
    ),
    "--stage12-compilation": Row(
        ("--stage12-compilation", "--dry-run"),
        says="--stage12-compilation  (command line)",
        base=STAGE1,
    ),
    "--stage1-pos-weight": Row(("--stage1-pos-weight", "3"), weights, base=STAGE1),
    "--stage2-pos-weight": Row(
        ("--stage2-pos-weight", "3"), weights, base=STAGE2, code=1
    ),
    "--stage2-gamma-pos": Row(
        ("--stage2-gamma-pos", "1"), weights, base=STAGE2, code=1
    ),
    "--stage2-gamma-neg": Row(
        ("--stage2-gamma-neg", "2"), weights, base=STAGE2, code=1
    ),
    "--stage2-clip": Row(("--stage2-clip", "0.02"), weights, base=STAGE2, code=1),
    "--stage2-hidden-dim": Row(HIDDEN, weights, base=STAGE2, code=1),
    "--stage2-head-dropout": Row(
        ("--stage2-head-dropout", "0.5"), weights, base=(*STAGE2, *HIDDEN), code=1
    ),
    "--stage2-test-ratio": Row(
        ("--stage2-test-ratio", "0.3"), rows, base=STAGE2, code=1
    ),
    "--resume-reachable-head-from": Row(
        ("--resume-reachable-head-from", "{start1}"), weights, base=STAGE1
    ),
    "--resume-legal-moves-head-from": Row(
        ("--resume-legal-moves-head-from", "{start2}"), weights, base=STAGE2, code=1
    ),
}


def _flags() -> list[str]:
    return [option.bound.flag for option in setting_options(command)]


def test_every_flag_has_a_row():
    assert set(ROWS) == set(_flags())


def _stage_data(root: Path) -> dict[str, Path]:
    """Make stage records and preprocess records of the shards, twice each stage's."""
    found = {name: root / name for name in ("stage1", "stage2", "moves", "soft")}
    for command_line in (
        ("utility", "generate-stage1-data", "--output-dir", found["stage1"]),
        *(
            (
                *("utility", "generate-stage2-data", "--workers", "0"),
                *("--input-path", root / source, "--output-dir", found[name]),
            )
            for source, name in (("shards", "stage2"), ("other", "moves"))
        ),
        (
            *("pre-process", "--workers", "1", "--shard-rows", "100"),
            *("--input-path", root / "shards", "--output-dir", found["soft"]),
        ),
    ):
        assert run([str(word) for word in command_line]) == 0
    (root / "cases").mkdir()
    (path,) = found["stage1"].iterdir()
    np.save(root / "cases" / "stage1.npy", np.load(path)[:900])
    return {**found, "cases": root / "cases"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, selfplay_rows) -> dict[str, Path]:
    """Two folders of three small shards each, and a configuration file."""
    root = tmp_path_factory.mktemp("flags")
    for name, first in (("shards", 0), ("other", 30_000)):
        (root / name).mkdir()
        for number in range(3):
            begin = first + 120 * number
            rows = selfplay_rows[begin : begin + 120]
            (root / name / f"{number}.hcpe").write_bytes(rows.tobytes())
    (root / "run.toml").write_text(
        "[train]\nstart-epoch = 0\n[data]\ntest-ratio = 0.99\n"
    )
    start = root / "start"
    arguments = (*BASE, "--input-path", str(root / "other"), "--seed", "9")
    places = ("--model-dir", str(start / "models"), "--log-dir", str(start / "logs"))
    assert run(["learn-model", *arguments, *places]) == 0
    (trained,) = (start / "models").iterdir()
    staged = _stage_data(root)
    for name, stage in (("start1", STAGE1), ("start2", STAGE2)):
        arguments = (*BASE, *(text.format(**staged) for text in stage), "--seed", "9")
        places = ("--model-dir", str(root / name), "--log-dir", str(start / "logs"))
        assert run(["learn-model", *arguments, *places]) in (0, 1)
        (staged[name],) = root.glob(f"{name}/*/stage?")
    return {
        **staged,
        "start": trained,
        "shards": root / "shards",
        "other": root / "other",
        "config": root / "run.toml",
        "root": root,
    }


def _run(inputs, tmp_path, capfd, *arguments: str) -> Outcome:
    staged = any(text.startswith("--stage") for text in arguments)
    given = [
        "learn-model",
        *(() if staged else ("--input-path", str(inputs["shards"]))),
        *("--model-dir", str(tmp_path / "models")),
        *("--log-dir", str(tmp_path / "logs")),
        *BASE,
        *(text.format(tmp=tmp_path, **inputs) for text in arguments),
    ]
    capfd.readouterr()
    code = run(given)
    said = capfd.readouterr()
    folders = {path.parent for path in tmp_path.glob("*/*/run.toml")}
    models = [
        path for path in folders if [*path.glob("epoch-*"), *path.glob("*/epoch-*")]
    ]
    logs = [path for path in folders if (path / "metrics.jsonl").exists()]
    return Outcome(
        code,
        models[0] if models else None,
        logs[0] if logs else None,
        said.err,
        said.out,
    )


@pytest.fixture(scope="module")
def bases() -> dict[tuple[str, ...], tuple[Outcome, object]]:
    """Base runs that were made already, by their arguments."""
    return {}


@pytest.mark.parametrize("flag", sorted(ROWS))
def test_a_flag_acts(flag, inputs, tmp_path, tmp_path_factory, capfd, bases):
    row = ROWS[flag]
    if row.base not in bases:
        folder = tmp_path_factory.mktemp("base")
        bases[row.base] = _run(inputs, folder, capfd, *row.base)
    base = bases[row.base]
    changed = _run(inputs, tmp_path, capfd, *row.base, *row.add)
    if row.differs is not None:
        assert changed.code == row.code, changed.errors
        assert row.differs(changed) != row.differs(base)
        return
    assert row.says in changed.errors + changed.output
    assert row.says not in base.errors + base.output


def test_settings_of_another_backbone_are_named(inputs, tmp_path, capfd):
    changed = _run(inputs, tmp_path, capfd, "--vit-num-layers", "3")
    assert "--vit-num-layers" in changed.errors
    assert "no effect" in changed.errors or changed.code == 2


def test_options_are_click_options_with_help():
    for option in setting_options(command):
        assert isinstance(option, click.Option)
        assert option.help
