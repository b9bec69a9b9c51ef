"""What a bucket with mirrored runs must be like whenever somebody looks."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_stores import BUCKET
from maou.checkpoint.manifest import MANIFEST, seal
from maou.config import names_only
from maou.publish.config import PublishConfig
from maou.publish.training import publishing
from maou.way_on import WayOn


def unsound(objects: dict[str, bytes]) -> list[str]:
    """Name what is half there: files of a manifest, or checkpoints of a pointer."""
    wrong = []
    for key, data in objects.items():
        folder, _, name = key.rpartition("/")
        if name == MANIFEST:
            for file, entry in json.loads(data)["files"].items():
                found = objects.get(f"{folder}/{file}", b"")
                if hashlib.sha256(found).hexdigest() != entry["sha256"]:
                    wrong.append(f"{folder}/{file}")
        if name == "checkpoints.json":
            wrong += [
                f"{key}: {target}"
                for target in json.loads(data)["links"].values()
                if f"{folder}/{target}/{MANIFEST}" not in objects
            ]
    return wrong


def watch(store: Any, prefix: str) -> list[str]:
    """Look at a bucket after each change of it; give the list that faults go to."""
    wrong: list[str] = []
    store.proxy.changed = lambda _: wrong.extend(unsound(store.objects(prefix)))
    return wrong


def flags(store: Any, base: str) -> tuple[str, ...]:
    name = store.provider
    return (
        *(f"--output-{name}", f"--{name}-bucket-name", BUCKET),
        *(f"--{name}-base-path", base),
    )


def settings(provider: str, base: str, **others: Any) -> PublishConfig:
    place = {f"{provider}_bucket_name": BUCKET, f"{provider}_base_path": base}
    return PublishConfig(**{f"output_{provider}": True, **place, **others})


@dataclass
class Listener:
    """Remembers what it is told."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def result(self, text: str) -> None:
        self.results.append(text)


@dataclass
class Run:
    """A run's folders, with checkpoints that no network was needed for."""

    root: Path
    name: str = "resnet_training_log_20260101-000000"
    size: int = 3000

    @property
    def models(self) -> Path:
        return self.root / "models" / self.name

    @property
    def logs(self) -> Path:
        return self.root / "logs" / self.name

    def save(self, step: int, *links: str, content: int = 0) -> Path:
        """Write a checkpoint; keep those that links name, as a run does."""
        self.models.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        folder = self.models / f"epoch-0001-step-{step:08d}"
        folder.mkdir()
        for name in ("model", "optimizer", "random"):
            seed = f"{name} {step} {content}".encode()
            data = hashlib.shake_256(seed).digest(self.size)
            (folder / f"{name}.safetensors").write_bytes(data)
        source = {
            "source": {"input_path": str(self.root / "games"), "input_gcs": False}
        }
        state = {"step": step, "settings": source}
        (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n")
        seal(folder)
        for link in ("last", *links):
            (self.models / link).unlink(missing_ok=True)
            (self.models / link).symlink_to(folder.name)
        named = {p.readlink().name for p in self.models.iterdir() if p.is_symlink()}
        for other in self.models.glob("epoch-*"):
            if other.name not in named:
                for path in other.iterdir():
                    path.unlink()
                other.rmdir()
        with (self.logs / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps({"step": step}) + "\n")
        return folder

    def publish(
        self,
        config: PublishConfig,
        train: Callable[[Any], object] = lambda _: None,
    ) -> Listener:
        """Mirror the run while `train` is called with the uploads."""
        listener = Listener()
        places = (self.models, self.logs)
        self.models.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        command = WayOn(self.models).command_with
        with publishing(
            config, places, "seed = 0\n", names_only, command, listener
        ) as uploads:
            uploads.on_resume(None)
            train(uploads)
        return listener


def download(objects: dict[str, bytes], prefix: str, folder: Path) -> None:
    """Write objects to a folder, as the stores' own tools do."""
    for key, data in objects.items():
        path = folder / os.path.relpath(key, prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
