"""What `maou evaluate` measures, and on what."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import REQUIRED, setting
from maou.sources.choosing import require_choice
from maou.sources.config import GROUP, HCPE_SUFFIXES, FormatConfig

MODEL, OUTPUT = "Model", "Output"
SPLITS = ("all", "training", "validation")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(FormatConfig):
    """The model, the rows, and where the result goes."""

    model: Path = setting(
        REQUIRED,
        "Checkpoint folder, a run's folder (its best checkpoint), or an ONNX file "
        "that maou wrote.",
        MODEL,
        metavar="PATH",
    )
    gpu: str | None = setting(
        None,
        "Device for a checkpoint: cuda:0, cpu or any other name that torch knows.",
        MODEL,
        metavar="DEVICE",
        shown_default="cuda:0 when present, else cpu",
    )
    split: str = setting(
        "all",
        "Which rows to measure: all, or one side of learn-model's split of these "
        "shards.",
        GROUP,
        choices=SPLITS,
    )
    test_ratio: float | None = setting(
        None,
        "Share of the games held out, for --split.",
        GROUP,
        above=0,
        below=1,
        shown_default="what the model was trained with",
    )
    seed: int | None = setting(
        None,
        "Seed of the split, for --split.",
        GROUP,
        minimum=0,
        shown_default="what the model was trained with",
    )
    batch_size: int = setting(1000, "Positions in a batch.", GROUP, minimum=1)
    json: Path | None = setting(
        None,
        "Also write the result to this file as JSON; - writes it to stdout instead of "
        "the table.",
        OUTPUT,
        metavar="PATH",
    )

    def check(self) -> None:
        """Check that there is one input.

        Raises:
            ConfigError: there is none, or several.
        """
        require_choice(self, f"a file or folder of shards ({HCPE_SUFFIXES})")
