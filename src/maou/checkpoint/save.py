"""Writing checkpoints so that a crash never damages one.

A checkpoint is a folder: `model.safetensors`, `optimizer.safetensors`,
`random.safetensors`, `state.json` and `MANIFEST.json`. It is written under a temporary
name, flushed, given its manifest last and renamed into place; only then do the links
`last`, `best`, `best-policy` and `best-value` move, each by one rename, and folders
that nobody asked to keep are removed.
"""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.optim import Optimizer

from maou import __version__
from maou.checkpoint.config import Keep
from maou.checkpoint.folders import (
    BEST,
    BEST_LINKS,
    LAST,
    PARTIAL,
    STATE,
    checkpoint_name,
    clear_leftovers,
    point,
    remove,
    retain,
)
from maou.checkpoint.manifest import sealing
from maou.checkpoint.parts import save_parts
from maou.files import sync_folder
from maou.settings import as_plain
from maou.shogi.labels import LABEL_SCHEME
from maou.train.generators import generator_states
from maou.train.state import TrainState

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"
FORMAT_VERSION = 1


def save_checkpoint(
    run_folder: Path,
    state: TrainState,
    record: Mapping[str, Any],
    best: Collection[str] = (),
    *,
    split: bool = False,
    keep: Keep = Keep(),  # noqa: B008 - frozen
) -> Path:
    """Write a checkpoint of the state and make it the run's last one.

    Args:
        run_folder: the run's folder; made if missing.
        state: what to save.
        record: the run's settings, for `state.json`.
        best: the criteria (keys of `BEST_LINKS`) by which it is the best so far.
        split: whether to write a file for each part of the network too.
        keep: which of the run's checkpoints to keep.

    Returns:
        The checkpoint's folder, `epoch-NNNN-step-NNNNNNNN`.

    Raises:
        OSError, SafetensorError: the disk is full or failing. The checkpoints that
            were there are whole, and links name whole ones.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    clear_leftovers(run_folder)
    final = run_folder / checkpoint_name(state.epoch, state.step)
    temporary = run_folder / f".{final.name}{PARTIAL}"
    try:
        _write(temporary, state, record, split=split)
        if final.exists():  # of this state, by a save that failed after its rename
            remove(final)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk needs the room
        raise
    sync_folder(run_folder)
    point(run_folder / LAST, final.name)
    for link in sorted({BEST_LINKS[by] for by in best}):
        if keep.heads or link == BEST:
            point(run_folder / link, final.name)
    sync_folder(run_folder)
    retain(run_folder, keep)
    return final


def _write(
    folder: Path, state: TrainState, record: Mapping[str, Any], *, split: bool
) -> None:
    """Write all files of a checkpoint into a new folder, durably."""
    folder.mkdir()
    with sealing(folder) as complete:
        write_state(folder, state, record, generator_states(), complete)
        if split:
            save_parts(state.network, folder)


def write_state(
    folder: Path,
    state: TrainState,
    record: Mapping[str, Any],
    generators: Mapping[str, torch.Tensor],
    complete: Callable[[Path], object] = lambda _: None,
) -> None:
    """Write all that training goes on from; no manifest, and nothing is flushed.

    Args:
        folder: where to.
        state: what to write.
        record: the run's settings, for `state.json`.
        generators: states of torch's generators, by device.
        complete: called with each large file when it is written.
    """
    tensors, groups = optimizer_state(state.optimizer)
    save_file(tensors, folder / OPTIMIZER)
    complete(folder / OPTIMIZER)  # the largest first
    save_file(_on_cpu(state.network.state_dict()), folder / MODEL)
    complete(folder / MODEL)
    save_file(dict(generators), folder / RANDOM)
    text = json.dumps(_state_json(state, groups, record), indent=2) + "\n"
    (folder / STATE).write_text(text)


def optimizer_state(
    optimizer: Optimizer,
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Split an optimiser's state into named tensors and plain group settings.

    Returns:
        Tensors named `<kind>/<parameter name>`, such as `exp_avg/policy_head.bias`;
        and each group's settings with its parameters' names.
    """
    tensors = {}
    groups = []
    for group in optimizer.param_groups:
        names = group["param_names"]
        for name, parameter in zip(names, group["params"], strict=True):
            for kind, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{kind}/{name}"] = value.detach().cpu().contiguous()
        plain = {
            key: value
            for key, value in group.items()
            if isinstance(value, (bool, int, float, str, tuple, list, type(None)))
            and key not in {"params", "param_names"}
        }
        groups.append({**plain, "param_names": list(names)})
    return tensors, groups


def _state_json(
    state: TrainState, groups: list[dict[str, Any]], record: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "maou_version": __version__,
        "label_scheme": LABEL_SCHEME,
        "epoch": state.epoch,
        "step": state.step,
        "batches": state.batches,
        "ahead": state.ahead,
        "rows": state.rows,
        "before": None if state.before is None else asdict(state.before),
        "best": {by: asdict(best) for by, best in state.best.items()},
        "last": None if state.last is None else asdict(state.last),
        "micro_batch": state.micro_batch,
        "numbers": asdict(state.numbers),
        "loss_scaler": None if state.scaler is None else state.scaler.state_dict(),
        "model": as_plain(state.network.config),
        "heads": state.network.heads,
        "optimizer_groups": groups,
        "settings": dict(record),
    }


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
