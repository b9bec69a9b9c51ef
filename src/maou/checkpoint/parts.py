"""A file for each part of a network, beside the file of the whole.

A part is a child of the network (`backbone`, `policy_head`, ...). Its file
holds its tensors by their names within the part; its header says which part of which
network it is.
"""

import json
from pathlib import Path

from safetensors.torch import save_file

from maou.model.network import BackboneNetwork
from maou.settings import as_plain
from maou.shogi.labels import LABEL_SCHEME

HEADER = "maou"
"""Key of the header's entry: a JSON object with `part`, `label_scheme`, `model`."""


def save_parts(network: BackboneNetwork, folder: Path) -> None:
    """Write `<part>.safetensors` for every part of a network."""
    for part, module in network.named_children():
        tensors = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in module.state_dict().items()
        }
        said = {
            "part": part,
            "label_scheme": LABEL_SCHEME,
            "model": as_plain(network.config),
        }
        # One entry, since safetensors writes several in no fixed order.
        header = {HEADER: json.dumps(said, sort_keys=True)}
        save_file(tensors, folder / f"{part}.safetensors", header)
