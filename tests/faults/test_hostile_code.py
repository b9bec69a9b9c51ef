"""Nothing in a file is executed, nothing outside the folders is read or written."""

import ast
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fuzz.game_targets import _converted
from fuzz.model_targets import MODELS, _checkpoint_files
from fuzz.shard_targets import rows_of
from maou.checkpoint.load import find_checkpoint, load_checkpoint
from maou.checkpoint.manifest import MANIFEST, verify_manifest
from maou.checkpoint.warm_start import fill_part
from maou.cli.main import run
from maou.convert.progress import PROGRESS_FILE, REPORT_FILE
from maou.errors import CheckpointError, MaouError
from maou.export.runtime import OnnxModel
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.records.containers import open_hcpe_shard

SOURCE = Path(__file__).parents[2] / "src" / "maou"


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def object_array(canary: Canary) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([canary], dtype=object), allow_pickle=True)
    return stream.getvalue()


def torch_file(canary: Canary, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save({"a": canary}, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def deflated(canary: Canary) -> bytes:
    """Compress the parts of a torch file, so that they grow when they are read."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torch_file(canary))) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    return stream.getvalue()


PICKLES: dict[str, tuple[str, Callable[[Canary], bytes]]] = {
    "npy of objects": ("shard.npy", object_array),
    "pickle named npy": ("shard.npy", pickle.dumps),
    "pickle named feather": ("shard.feather", pickle.dumps),
    "pickle named hcpe": ("shard.hcpe3", pickle.dumps),
    "torch": ("part.pt", torch_file),
    "torch of old": ("part.pth", lambda canary: torch_file(canary, legacy=True)),
    "torch deflated": ("part.pt", deflated),
    "bare pickle": ("part.pt", lambda canary: pickle.dumps({"a": canary})),
    "pickle named safetensors": ("part.safetensors", lambda c: pickle.dumps({"a": c})),
    "onnx": ("model.onnx", pickle.dumps),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_no_pickle_runs(kind: str, tmp_path: Path) -> None:
    name, make = PICKLES[kind]
    path, canary = tmp_path / name, tmp_path / "canary"
    path.write_bytes(make(Canary(canary)))
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=8))
    readers: dict[str, Callable[[Path], object]] = {
        "shard": open_hcpe_shard,
        "model": OnnxModel,
        "part": lambda file: fill_part(network, "policy_head", file),
    }
    with pytest.raises(MaouError):
        readers[path.stem](path)
    assert not canary.exists()


FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "pickle", "cPickle", "marshal", "shelve",
    "dill", "cloudpickle", "joblib", "yaml", "system", "popen",
}  # fmt: skip


def test_the_source_has_no_way_to_run_what_it_reads() -> None:
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
                assert not names & FORBIDDEN, where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in FORBIDDEN, where
            elif isinstance(node, ast.Call):
                _require_harmless(node, where)


def _require_harmless(call: ast.Call, where: str) -> None:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    assert name not in FORBIDDEN, where
    said = ast.unparse(call)
    if said.startswith(("torch.load(",)):
        assert "weights_only=True" in said, where
    assert not said.startswith(("torch.save(", "np.savez(")), where
    assert "allow_pickle=True" not in said, where
    if said.startswith("np.load("):
        assert "allow_pickle=False" in said, where
    assert not said.startswith(("os.system(", "os.popen(")), where
    assert "shell=True" not in said, where


# Nothing elsewhere.


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "epoch-0001-step-00000001"
    folder.mkdir(parents=True)
    for name, data in _checkpoint_files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "../../secret",
        "/etc/passwd",
        "..",
        "",
        "a/b",
        "\0",
        "state.json/",
        "./state.json",
    ],
)
def test_a_manifest_names_files_of_its_own_folder(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": 6, "sha256": "0" * 64}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="no file of this folder"):
        load_checkpoint(checkpoint)


def test_what_the_manifest_does_not_list_is_not_read(checkpoint: Path) -> None:
    manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    for name in list(manifest["files"]):
        less = {k: v for k, v in manifest["files"].items() if k != name}
        (checkpoint / MANIFEST).write_text(json.dumps({"version": 1, "files": less}))
        if name in ("model.safetensors", "state.json"):
            with pytest.raises(CheckpointError, match=f"does not list {name}"):
                load_checkpoint(checkpoint)
        else:
            load_checkpoint(checkpoint)


def test_a_checkpoint_holds_its_files_itself(checkpoint: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (checkpoint / "model.safetensors").rename(outside)
    (checkpoint / "model.safetensors").symlink_to(outside)
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        verify_manifest(checkpoint)


def test_a_runs_links_stay_in_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    best = checkpoint.parent / "best"
    best.symlink_to(checkpoint.name)
    assert find_checkpoint(checkpoint.parent) == best
    best.unlink()
    elsewhere = tmp_path / "elsewhere"
    checkpoint.rename(elsewhere)
    best.symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="out of the run's folder"):
        find_checkpoint(checkpoint.parent)


def test_an_onnx_model_reads_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(bytes(1 << 20))
    (target,) = (target for target in MODELS if target.name == "onnx")
    model = onnx.ModelProto.FromString(target.seeds()[0])
    for place in ("weights", "../weights", str(tmp_path / "weights")):
        tensor = model.graph.initializer[3]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", place
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(CheckpointError, match="from another file"):
            OnnxModel(path)


@pytest.mark.parametrize("link", ["rejects.tsv", "train", "validation", "spilled"])
def test_nothing_is_written_through_a_link(
    link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    rows = tmp_path / "a.hcpe"
    rows.write_bytes(rows_of(20).tobytes())
    words = ["pre-process", "--input-path", str(rows)]
    if link == "rejects.tsv":
        outside.write_bytes(b"kept")
        games = Path(__file__).parents[1] / "data" / "games" / "selfplay.csa"
        words = ["hcpe-convert", "--workers", "0", "--input-path", str(games)]
    else:
        outside.mkdir()
    (out / link).symlink_to(outside)
    assert run([*words, "--output-dir", str(out)]) == 2
    assert f"{out / link} is a symbolic link" in capsys.readouterr().err
    if link == "rejects.tsv":
        assert outside.read_bytes() == b"kept"
    else:
        assert list(outside.iterdir()) == []


def test_a_state_file_names_shards_of_its_own_folder(tmp_path: Path) -> None:
    made = _converted()
    state = json.loads((made / "out" / PROGRESS_FILE).read_bytes())
    for name in ("../secret", "/etc/passwd", "..", "a/b"):
        state["shards"][0]["name"] = name
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        (out / PROGRESS_FILE).write_text(json.dumps(state))
        (out / REPORT_FILE).write_bytes(b"")
        words = ["--input-path", str(made / "in" / "a.csa"), "--output-dir", str(out)]
        assert run(["hcpe-convert", "--workers", "0", *words]) == 2
