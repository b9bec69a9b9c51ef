"""How rows become batches."""

from dataclasses import dataclass

from maou.settings import STAGES, Settings, setting

DATA = "Data"
LOADER = "Data loading"

MAP_CACHE = 4 * 2**30
"""Bytes that a map-style dataset may take when it is decoded: 42 million positions."""

STREAM_CACHE = 512 * 2**20
"""Bytes of decoded rows that streaming may keep, in all its processes together: 5
million positions, so that streaming stays within 1.5 GB."""


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
    cache_transforms: bool | None = setting(
        None,
        "Keep decoded rows in memory, so that batches need no decoding: up to 4 GiB "
        "map-style, up to 512 MiB streaming (there from the second epoch on, and for "
        "hcpe without workers only). If hcpe rows do not all fit, none are kept.",
        LOADER,
        shown_default="on for hcpe, off for preprocess",
    )
    loader_timeout: float = setting(
        120.0,
        "Seconds to wait for a batch before the run says what holds it up: with "
        "workers it ends, without it goes on waiting.",
        LOADER,
        above=0,
    )
    stage2_test_ratio: float = setting(
        0.0,
        "Share of the stage 2 positions held out to measure F1, streaming or not; 0 "
        "measures on the training positions.",
        STAGES,
        minimum=0,
        below=1,
    )

    def cannot_cache(self, *, streaming: bool, hcpe: bool) -> str:
        """Say why --cache-transforms cannot keep anything in this mode; else nothing.

        Args:
            streaming: whether training reads a window instead of all rows.
            hcpe: whether the rows are hcpe records.
        """
        if not hcpe and not streaming:
            return "a map-style dataset holds such records decoded anyway"
        if hcpe and streaming and self.dataloader_workers:
            return (
                "with workers, streaming decodes each row in one process only "
                "(use --no-streaming or --dataloader-workers 0)"
            )
        return ""

    def cache_limit(self, *, streaming: bool, hcpe: bool) -> int:
        """Return how many bytes of decoded rows a process may keep; 0 keeps none."""
        wanted = hcpe if self.cache_transforms is None else self.cache_transforms
        if not wanted or self.cannot_cache(streaming=streaming, hcpe=hcpe):
            return 0
        if not streaming:
            return MAP_CACHE
        return STREAM_CACHE // max(1, self.dataloader_workers)
