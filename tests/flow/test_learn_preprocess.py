"""`learn-model` and `evaluate` on what `pre-process` wrote."""

import json
from pathlib import Path

import numpy as np
import pytest

from maou.cli.main import run

TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--no-export-onnx",)
QUICK = ("--epoch", "1", "--batch-size", "100")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, selfplay_rows) -> dict[str, Path]:
    """The same 2,400 rows pre-processed into each form, several shards each."""
    root = tmp_path_factory.mktemp("preprocess")
    source = root / "hcpe"
    source.mkdir()
    for number in range(6):
        rows = selfplay_rows[number * 400 : (number + 1) * 400]
        (source / f"{number}.hcpe").write_bytes(rows.tobytes())
    found = {"hcpe": source}
    for form in ("packed-npy", "packed-feather", "dense-npy", "dense-feather"):
        packing, container = form.split("-")
        code = run(
            [
                "pre-process",
                *("--input-path", str(source), "--output-dir", str(root / form)),
                *("--output-format", container, "--shard-rows", "700"),
                "--packed" if packing == "packed" else "--no-packed",
            ]
        )
        assert code == 0
        found[form] = root / form
    return found


def _learn(tmp_path: Path, shards: Path, *arguments: str) -> Path:
    places = ("--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l"))
    source = ("--input-path", str(shards), "--input-format", "preprocess")
    assert run(["learn-model", *places, *source, *TINY, *QUICK, *arguments]) == 0
    (folder,) = (tmp_path / "m").iterdir()
    return folder


def _weights(folder: Path) -> bytes:
    return (folder / "last" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("mode", ["--streaming", "--no-streaming"])
def test_containers_give_the_same_network(tmp_path, folders, mode, capfd):
    npy = _learn(tmp_path / "1", folders["packed-npy"], "--input-file-packed", mode)
    assert "split by game, by pre-process)" in capfd.readouterr().err
    feather = _learn(
        tmp_path / "2", folders["packed-feather"], "--input-file-packed", mode
    )
    assert _weights(npy) == _weights(feather)
    dense = [
        _learn(tmp_path / form, folders[form], mode)
        for form in ("dense-npy", "dense-feather")
    ]
    assert _weights(dense[0]) == _weights(dense[1])
    losses = [
        json.loads((folder / "last" / "state.json").read_text())["last"]["total_loss"]
        for folder in (npy, dense[0])
    ]
    # float16 shares and results differ from the exact ones in the fourth digit.
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


def test_workers_and_mirroring_change_nothing_but_what_they_should(tmp_path, folders):
    flags = ("--input-file-packed", "--mirror-probability", "0.5", "--seed", "4")
    shards = folders["packed-npy"]
    alone = _learn(tmp_path / "1", shards, *flags, "--shuffle-rows", "300")
    helped = _learn(
        tmp_path / "2",
        shards,
        *(*flags, "--shuffle-rows", "300", "--dataloader-workers", "1"),
    )
    joined = _learn(
        tmp_path / "3", shards, *flags, "--no-streaming", "--input-cache-mode", "memory"
    )
    apart = _learn(
        tmp_path / "4", shards, *flags, "--no-streaming", "--dataloader-workers", "1"
    )
    assert _weights(alone) == _weights(helped)
    assert _weights(joined) == _weights(apart)
    assert _weights(alone) != _weights(joined)


def test_evaluate_measures_the_validation_folder(tmp_path, folders, capfd):
    shards = folders["packed-npy"]
    folder = _learn(tmp_path, shards, "--input-file-packed")
    state = json.loads((folder / "best" / "state.json").read_text())
    capfd.readouterr()
    results = {}
    for name, path in (("folder", shards / "validation"), ("split", shards)):
        arguments = (
            *("--model", str(folder), "--gpu", "cpu", "--json", "-"),
            *("--input-path", str(path), "--input-format", "preprocess"),
            "--input-file-packed",
            *(("--split", "validation") if name == "split" else ()),
        )
        assert run(["evaluate", *arguments]) == 0
        results[name] = json.loads(capfd.readouterr().out)["metrics"]
    assert results["split"] == pytest.approx(results["folder"], rel=1e-6)
    assert results["split"] == pytest.approx(
        state["best"]["total"]["metrics"], rel=1e-5
    )


def test_a_folder_without_the_pair_is_split_by_shard_or_row(tmp_path, folders, capfd):
    train = folders["packed-npy"] / "train"
    _learn(tmp_path / "1", train, "--input-file-packed")
    assert "split by shard)" in capfd.readouterr().err
    first = min(train.iterdir())
    _learn(tmp_path / "2", first, "--input-file-packed")
    error = capfd.readouterr().err
    assert "split by row)" in error
    assert "validation will flatter" in error


@pytest.mark.parametrize(
    ("form", "arguments", "says"),
    [
        ("packed-npy", ("--input-format", "preprocess"), "packed preprocess records"),
        (
            "dense-npy",
            ("--input-format", "preprocess", "--input-file-packed"),
            "dense preprocess records",
        ),
        ("dense-npy", (), "preprocess"),
        ("hcpe", ("--input-format", "preprocess"), "holds hcpe records"),
    ],
)
def test_records_of_another_kind_are_refused_by_name(
    tmp_path, folders, capfd, form, arguments, says
):
    code = run(
        [
            "learn-model",
            *("--input-path", str(folders[form]), "--model-dir", str(tmp_path / "m")),
            *arguments,
        ]
    )
    assert code == 2
    error = capfd.readouterr().err
    assert says in error
    assert str(folders[form]) in error
    assert not (tmp_path / "m").exists()


def test_a_damaged_packed_row_is_named(tmp_path, folders, capfd):
    source = min((folders["packed-npy"] / "train").iterdir())
    data = bytearray(source.read_bytes())
    header = len(data) - np.load(source, allow_pickle=False).nbytes
    data[header + 40 * 17 : header + 40 * 17 + 32] = b"\xff" * 32
    path = tmp_path / "bad.npy"
    path.write_bytes(data)
    code = run(
        [
            "learn-model",
            *("--input-path", str(path), "--model-dir", str(tmp_path / "m")),
            *("--log-dir", str(tmp_path / "l"), "--input-format", "preprocess"),
            *("--input-file-packed", *TINY, *QUICK),
        ]
    )
    assert code == 2
    assert "bad.npy: row 17" in capfd.readouterr().err
