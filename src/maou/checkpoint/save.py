"""Writing checkpoints so that a crash never damages one.

A checkpoint is a folder: `model.safetensors`, `optimizer.safetensors`,
`random.safetensors`, `state.json` and `MANIFEST.json`. It is written under a temporary
name, flushed, given its manifest last and renamed into place; only then do the links
`last`, `best`, `best-policy` and `best-value` move, each by one rename, and folders
that no link names are removed.
"""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.optim import Optimizer

from maou import __version__
from maou.checkpoint.manifest import write_manifest
from maou.checkpoint.parts import save_parts
from maou.files import sync_folder
from maou.settings import as_plain
from maou.shogi.labels import LABEL_SCHEME
from maou.train.state import TrainState

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"
STATE = "state.json"
LAST, BEST = "last", "best"
BEST_LINKS = {
    **dict.fromkeys(("total", "element_accuracy", "f1"), BEST),
    "policy": "best-policy",
    "value": "best-value",
}
"""The link that names the best checkpoint by each of the tasks' criteria."""
FORMAT_VERSION = 1


def save_checkpoint(
    run_folder: Path,
    state: TrainState,
    record: Mapping[str, Any],
    best: Collection[str] = (),
    *,
    split: bool = False,
) -> Path:
    """Write a checkpoint of the state and make it the run's last one.

    Args:
        run_folder: the run's folder; made if missing.
        state: what to save.
        record: the run's settings, for `state.json`.
        best: the criteria (keys of `BEST_LINKS`) by which it is the best so far.
        split: whether to write a file for each part of the network too.

    Returns:
        The checkpoint's folder, `epoch-NNNN-step-NNNNNNNN`.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    final = run_folder / f"epoch-{state.epoch:04d}-step-{state.step:08d}"
    temporary = run_folder / f".{final.name}.partial"
    replaced = run_folder / f".{final.name}.replaced"
    for leftover in (temporary, replaced):
        if leftover.exists():
            shutil.rmtree(leftover)
    temporary.mkdir()
    save_file(_on_cpu(state.network.state_dict()), temporary / MODEL)
    if split:
        save_parts(state.network, temporary)
    tensors, groups = optimizer_state(state.optimizer)
    save_file(tensors, temporary / OPTIMIZER)
    save_file(generator_states(), temporary / RANDOM)
    text = json.dumps(_state_json(state, groups, record), indent=2) + "\n"
    (temporary / STATE).write_text(text)
    for path in temporary.iterdir():
        _sync_file(path)
    write_manifest(temporary)
    if final.exists():  # a run that was resumed from before it makes this step again
        final.rename(replaced)
    temporary.rename(final)
    sync_folder(run_folder)
    _point(run_folder / LAST, final.name)
    for by in best:
        _point(run_folder / BEST_LINKS[by], final.name)
    _remove_unnamed(run_folder)
    shutil.rmtree(replaced, ignore_errors=True)
    return final


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


def generator_states() -> dict[str, torch.Tensor]:
    """Give the states of torch's generators, which dropout draws from, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{index}"] = state
    return states


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
        "rows": state.rows,
        "before": None if state.before is None else asdict(state.before),
        "best": {by: asdict(best) for by, best in state.best.items()},
        "last": None if state.last is None else asdict(state.last),
        "model": as_plain(state.network.config),
        "heads": state.network.heads,
        "optimizer_groups": groups,
        "settings": dict(record),
    }


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _point(link: Path, target: str) -> None:
    """Make a relative symbolic link name `target`, replacing an older one at once."""
    temporary = link.with_name(f".{link.name}.partial")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    sync_folder(link.parent)


def _remove_unnamed(run_folder: Path) -> None:
    named = {
        link.readlink().name
        for link in (run_folder / name for name in (LAST, *BEST_LINKS.values()))
        if link.is_symlink()
    }
    for folder in run_folder.glob("epoch-*-step-*"):
        if folder.name not in named:
            shutil.rmtree(folder)
