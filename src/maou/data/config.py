"""How rows become batches."""

from dataclasses import dataclass

from maou.settings import Settings, setting

DATA = "Data"
LOADER = "Data loading"


@dataclass(frozen=True)
class DataConfig(Settings):
    """Split, order, batches and the processes that make them."""

    batch_size: int = setting(
        1000,
        "Positions in a batch. With gradient accumulation, of a micro-batch.",
        DATA,
        minimum=1,
    )
    test_ratio: float = setting(
        0.2,
        "Share of the games held out for validation. A game is never on both sides.",
        DATA,
        above=0,
        below=1,
    )
    seed: int = setting(
        0,
        "Seed of the split, the order of the rows and the network's first weights.",
        DATA,
        minimum=0,
        maximum=2**63 - 1,
    )
    mirror_probability: float = setting(
        0.0,
        "Share of the training positions shown mirrored left to right, chosen anew "
        "each epoch.",
        DATA,
        minimum=0,
        maximum=1,
    )
    streaming: bool | None = setting(
        None,
        "Read shards in a bounded window while training instead of holding all rows "
        "in memory.",
        LOADER,
        shown_default="on for several files, off for one",
    )
    shuffle_rows: int = setting(
        524_288,
        "Rows in the window that streaming shuffles at a time.",
        LOADER,
        minimum=1,
        maximum=8_388_608,
    )
    dataloader_workers: int = setting(
        0,
        "Worker processes that prepare training batches. Results do not depend on it.",
        LOADER,
        minimum=0,
    )
    prefetch_factor: int = setting(
        4,
        "Batches that each worker prepares ahead.",
        LOADER,
        minimum=1,
    )
    pin_memory: bool = setting(
        False,
        "Prepare batches in page-locked memory, for faster transfers to a GPU.",
        LOADER,
    )
