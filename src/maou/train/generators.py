"""torch's random generators, which dropout draws from."""

from collections.abc import Mapping

import torch
from torch import Tensor


def generator_states(device: torch.device | None = None) -> dict[str, Tensor]:
    """Give the states of the CPU's generator and of GPUs', by device; waits for none.

    Args:
        device: the GPU whose generator is wanted; all of them when None.
    """
    states = {"cpu": torch.get_rng_state()}
    if device is not None:
        if device.type == "cuda":
            index = device.index
            index = torch.cuda.current_device() if index is None else index
            states[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    elif torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{index}"] = state
    return states


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """Put states back; those of GPUs only where there are any."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state, device)
