"""What `maou evaluate` measures, and on what."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import REQUIRED, Settings, setting
from maou.sources.config import HCPE, HCPE_SUFFIXES, INPUT_FORMATS, SourceConfig

MODEL, INPUT, OUTPUT = "Model", "Input", "Output"
SPLITS = ("all", "training", "validation")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Settings):
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
    input_path: Path = setting(
        REQUIRED,
        f"File or folder of shards ({HCPE_SUFFIXES}).",
        INPUT,
        metavar="PATH",
    )
    input_format: str = setting(
        HCPE,
        "Kind of record in the shards.",
        INPUT,
        choices=INPUT_FORMATS,
    )
    input_file_packed: bool = setting(
        False,
        "The preprocess shards are packed.",
        INPUT,
    )
    split: str = setting(
        "all",
        "Which rows to measure: all, or one side of learn-model's split of these "
        "shards.",
        INPUT,
        choices=SPLITS,
    )
    test_ratio: float | None = setting(
        None,
        "Share of the games held out, for --split.",
        INPUT,
        above=0,
        below=1,
        shown_default="what the model was trained with",
    )
    seed: int | None = setting(
        None,
        "Seed of the split, for --split.",
        INPUT,
        minimum=0,
        shown_default="what the model was trained with",
    )
    batch_size: int = setting(1000, "Positions in a batch.", INPUT, minimum=1)
    json: Path | None = setting(
        None,
        "Also write the result to this file as JSON; - writes it to stdout instead of "
        "the table.",
        OUTPUT,
        metavar="PATH",
    )

    def source(self) -> SourceConfig:
        """Return where the rows come from."""
        return SourceConfig(
            input_path=self.input_path,
            input_format=self.input_format,
            input_file_packed=self.input_file_packed,
        )
