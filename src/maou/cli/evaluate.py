"""`maou evaluate`: measure a checkpoint or ONNX model on game records."""

import json
from pathlib import Path
from typing import Any

import click

from maou.cli import console
from maou.cli.inputs import build_reading
from maou.cli.options import GroupedCommand, options_from
from maou.cli.training_report import metric_rows
from maou.evaluation.config import EvaluateConfig
from maou.files import atomic_write


@options_from(EvaluateConfig)
@click.command("evaluate", cls=GroupedCommand)
def command(**values: Any) -> None:
    """Measure a checkpoint or an ONNX model on game records.

    Prints policy top-1, top-5, cross-entropy and entropy, and value Brier, BCE, sign
    accuracy (without draws) and expected calibration error; means over positions.
    """
    config = build_reading(EvaluateConfig, values)
    from maou.evaluation.run import (
        evaluate,
    )  # torch: only when there is something to do

    result = evaluate(config, console.note)
    text = json.dumps(result.to_json(), indent=2)
    if config.json == Path("-"):
        console.say_json(text)
        return
    at = "" if result.step is None else f" at step {result.step:,}"
    title = f"{config.model}{at}: {result.rows} of {config.place}"
    console.table(("", "value"), metric_rows(result.metrics), title)
    if config.json is not None:
        with atomic_write(config.json) as stream:
            stream.write(f"{text}\n".encode())
        console.say(f"JSON  {config.json}")
