"""A step whose numbers are not finite, in a folder that makes it again.

`state.json` and the tensors beside it are those of a checkpoint: everything before the
step, torch's random generators included. `batches.safetensors` are the step's batches
as they were loaded, `broken.json` says what was not finite. It is written like a
checkpoint: under another name, flushed, the manifest last, then renamed.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from maou.checkpoint.folders import LAST, PARTIAL, STATE
from maou.checkpoint.load import read_tensors
from maou.checkpoint.manifest import seal, verify_manifest
from maou.checkpoint.save import MODEL, OPTIMIZER, RANDOM, write_state
from maou.checkpoint.saved import count
from maou.data.batch import Batch, FlagBatch, PositionBatch, SoftBatch
from maou.errors import CheckpointError
from maou.files import sync_folder
from maou.reading import read_json
from maou.text import shortened
from maou.train.config import AUTO, PRECISIONS
from maou.train.device import Compute
from maou.train.guards import BrokenStep, BrokenStepError, GradientFault
from maou.train.state import TrainState

BATCHES, BROKEN = "batches.safetensors", "broken.json"
VERSION = 1

MOST_THREADS = 1024
"""More than any machine's cores; torch ends the process where it cannot start them."""

_KINDS: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (Batch, SoftBatch, FlagBatch)
}


@dataclass(frozen=True)
class Bundle:
    """A bundle as it was written.

    Attributes:
        folder: where it is.
        settings: the run's, nested by package, with the stage's number.
        step, epoch: number of the step, and of its epoch, from 1.
        batches: the step's batches.
        found: what was not finite.
        device, precision, threads: what it was computed on.
        torch_version: what computed it.
    """

    folder: Path
    settings: Mapping[str, Any]
    step: int
    epoch: int
    batches: tuple[PositionBatch, ...]
    found: BrokenStep
    device: str
    precision: str
    threads: int
    torch_version: str


def write_bundle(
    folder: Path,
    state: TrainState,
    record: Mapping[str, Any],
    broken: BrokenStepError,
    compute: Compute,
) -> Path:
    """Write a bundle; give its folder.

    Args:
        folder: the run's folder (of the stage).
        state: the state before the step.
        record: the run's settings.
        broken: the step.
        compute: what it was computed on.

    Raises:
        OSError, SafetensorError: the disk is full or failing.
    """
    final = _free(folder / f"broken-step-{broken.step:08d}")
    temporary = folder / f".{final.name}{PARTIAL}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write_state(temporary, state, record, broken.attempt.generators)
        tensors, kinds = _pack(broken.attempt.batches)
        save_file(tensors, temporary / BATCHES)
        said = {
            "version": VERSION,
            "step": broken.step,
            "epoch": state.epoch + 1,
            "device": str(compute.device),
            "precision": compute.name,
            "threads": torch.get_num_threads(),
            "torch_version": str(torch.__version__),
            "batches": kinds,
            "found": _plain(broken.found),
        }
        (temporary / BROKEN).write_text(json.dumps(said, indent=2) + "\n")
        seal(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    temporary.rename(final)
    sync_folder(folder)
    return final


def explain(
    broken: BrokenStepError,
    folder: Path,
    state: TrainState,
    record: Mapping[str, Any],
    compute: Compute,
) -> str:
    """Leave a bundle (see `write_bundle`), and say what is wrong and what to do."""
    try:
        bundle = write_bundle(folder, state, record, broken, compute)
        again = f"See where it breaks with\n  maou utility replay {quote(str(bundle))}"
    except (OSError, SafetensorError) as error:
        again = f"The step could not be kept for a replay in {folder}: {error}."
    last = folder / LAST
    kept = "There is no checkpoint yet."
    if last.exists():
        kept = f"The last checkpoint, {last.resolve()}, is from before and whole."
    other = " or with --precision fp32" if compute.autocast is not None else ""
    return (
        f"{broken}. {kept} Going on from there comes to the same step again: start a "
        f"new run with a lower --learning-ratio (or the stage's own){other}. {again}"
    )


def read_bundle(folder: Path) -> Bundle:
    """Verify and read a bundle.

    Raises:
        CheckpointError: it is none, damaged, or of another version.
    """
    if not (folder / BROKEN).is_file():
        raise CheckpointError(
            f"{folder}: not a bundle of a broken step (no {BROKEN}); learn-model names "
            "one when a loss or gradient is not finite"
        )
    verify_manifest(folder, (BROKEN, STATE, BATCHES, MODEL, OPTIMIZER, RANDOM))
    try:
        said = read_json(folder / BROKEN)
        if said["version"] != VERSION:
            raise CheckpointError(
                f"{folder / BROKEN}: version {said['version']}, but this maou reads "
                f"{VERSION}; use the version that wrote it"
            )
        return Bundle(
            folder=folder,
            settings=_settings(read_json(folder / STATE)["settings"]),
            step=count(said["step"]),
            epoch=count(said["epoch"]),
            batches=_unpack(read_tensors(folder / BATCHES), said["batches"]),
            found=_from_plain(said["found"]),
            device=_device(said["device"]),
            precision=_precision(said["precision"]),
            threads=_threads(said["threads"]),
            torch_version=shortened(str(said["torch_version"]), 40),
        )
    except (
        *(OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RuntimeError),
    ) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{folder}: not a readable bundle: {shortened(repr(error))}"
        ) from error


def _settings(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"settings {value!r}")  # noqa: TRY004 - what is read is wrong
    return value


def _device(value: object) -> str:
    """Take a device that torch knows and that computes; it may be absent here."""
    if torch.device(str(value)).type == "meta":
        raise ValueError(f"device {value}")
    return str(value)


def _precision(value: object) -> str:
    if value not in PRECISIONS or value == AUTO:
        raise ValueError(f"precision {value!r}")
    return str(value)


def _threads(value: object) -> int:
    """Take a number of threads that torch can start."""
    threads = count(value, 1)
    if threads > MOST_THREADS:
        raise ValueError(f"{threads} threads")
    return threads


def _free(path: Path) -> Path:
    """Find a name that no earlier bundle of the step has."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found


def _pack(
    batches: tuple[PositionBatch, ...],
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Give all tensors of some batches by number and field, and the other fields."""
    tensors, kinds = {}, []
    for number, batch in enumerate(batches):
        plain: dict[str, Any] = {"kind": type(batch).__name__, "rows": len(batch)}
        for field in dataclasses.fields(batch):  # type: ignore[arg-type]
            value = getattr(batch, field.name)
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{field.name}"] = value.cpu().contiguous()
            else:
                plain[field.name] = value
        kinds.append(plain)
    return tensors, kinds


def _unpack(
    tensors: Mapping[str, torch.Tensor], kinds: list[dict[str, Any]]
) -> tuple[PositionBatch, ...]:
    batches = []
    for number, plain in enumerate(kinds):
        cls = _KINDS[plain["kind"]]
        values = {
            field.name: tensors.get(f"{number}.{field.name}", plain.get(field.name))
            for field in dataclasses.fields(cls)
        }
        batch: PositionBatch = cls(**values)
        batch.check()
        if len(batch) != plain["rows"]:
            raise ValueError(f"batch {number} has {len(batch)} rows")
        batches.append(batch)
    if not batches:
        raise ValueError("there are no batches")
    return tuple(batches)


def _plain(found: BrokenStep) -> dict[str, Any]:
    """Give a JSON object; NaN and infinity, which JSON does not have, as text."""
    losses = {name: float.hex(loss) for name, loss in found.losses.items()}
    return {**dataclasses.asdict(found), "losses": losses}


def _from_plain(said: Mapping[str, Any]) -> BrokenStep:
    return BrokenStep(
        losses={name: float.fromhex(text) for name, text in said["losses"].items()},
        gradients={
            name: GradientFault(**fault) for name, fault in said["gradients"].items()
        },
        digests=dict(said["digests"]),
        parameters=tuple(said["parameters"]),
        operation=str(said["operation"]),
    )
