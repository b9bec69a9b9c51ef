"""The folders that a run writes to, and no other process meanwhile."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maou.checkpoint.lock import locked
from maou.checkpoint.resume import RUN_SETTINGS_FILE
from maou.config import RunConfig
from maou.config_file import write_config
from maou.errors import ConfigError
from maou.files import atomic_write, explained
from maou.logs.metrics_file import METRICS_FILE
from maou.logs.report import Reporter
from maou.stages import Stage

ONNX = "best.onnx"
_WRITTEN_WHOLE = (RUN_SETTINGS_FILE, METRICS_FILE, ONNX)
"""Files that are written under another name first, which a crash leaves."""

GO_ON_AGAIN = "make room there, and give the same command again"


@dataclass(frozen=True)
class RunFolders:
    """Where a run writes: `<log-dir>/<name>` and `<model-dir>/<name>`."""

    logs: Path
    models: Path

    def __post_init__(self) -> None:
        """Refuse one folder for both.

        Raises:
            ConfigError: they are the same.
        """
        if self.logs.resolve() == self.models.resolve():
            raise ConfigError(
                f"--log-dir: {self.logs.parent} is where the models are (--model-dir); "
                "logs need a folder of their own"
            )

    def of_stage(self, stage: Stage) -> "RunFolders":
        """Give the folders of a stage, making them."""
        folders = RunFolders(self.logs / stage.folder, self.models / stage.folder)
        with suppress(OSError):  # what cannot be logged there is told by the logs
            folders.logs.mkdir(parents=True, exist_ok=True)
        with explained(folders.models, GO_ON_AGAIN):
            folders.models.mkdir(parents=True, exist_ok=True)
        return folders

    @contextmanager
    def locked(self, reporter: Reporter) -> Iterator[None]:
        """Keep other processes from writing here; clear away what a dead one left."""
        with locked(self.models, logs=self.logs, tell=reporter.note):
            for name in _WRITTEN_WHOLE:
                for folder in (self.models, self.logs):
                    for half in folder.rglob(f".{name}.*"):
                        with suppress(OSError):  # it is in nobody's way
                            half.unlink()
            yield

    def write_settings(self, config: RunConfig) -> None:
        """Write the settings of a new run to both folders."""
        for folder in (self.models, self.logs):
            path = folder / RUN_SETTINGS_FILE
            with explained(path, GO_ON_AGAIN), atomic_write(path) as stream:
                stream.write(write_config(config).encode())


def make_folders(config: RunConfig) -> RunFolders:
    """Make the run's two folders under a name that no earlier run has.

    Raises:
        ConfigError: they cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    base = f"{config.model.model_architecture}_training_log_{stamp}"
    for attempt in range(1000):
        name = base if attempt == 0 else f"{base}-{attempt}"
        folders = RunFolders(
            config.logs.log_dir / name, config.checkpoint.model_dir / name
        )
        try:
            folders.models.mkdir(parents=True)
            folders.logs.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                f"--log-dir / --model-dir: {error.filename}: {error.strerror}; name a "
                "folder that can be written"
            ) from error
        return folders
    raise ConfigError(f"--model-dir: no free name like {base}")
