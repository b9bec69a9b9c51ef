"""learn-model with --output-gcs and --output-s3, to real stores, by their SDKs."""

import json
import re
import shlex
import socket
import sys
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cloud_stores import BUCKET, QUICK
from fault_proxy import Fault
from maou.checkpoint.manifest import verify_manifest
from maou.cli.main import run
from maou.publish import session
from published_runs import download, flags, unsound, watch

TINY = (
    *("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8"),
    *("--epoch", "2", "--batch-size", "100"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(session, "RETRIES", QUICK)


@pytest.fixture
def games(tmp_path, selfplay_rows) -> Path:
    folder = tmp_path / "private" / "games"
    folder.mkdir(parents=True)
    for number in range(3):
        rows = selfplay_rows[150 * number : 150 * (number + 1)]
        (folder / f"{number}.hcpe").write_bytes(rows.tobytes())
    return folder


def _learn(tmp_path, *arguments: str) -> int:
    places = ("--model-dir", str(tmp_path / "models"))
    places += ("--log-dir", str(tmp_path / "logs"))
    return run(["learn-model", *TINY, *places, *arguments])


def test_a_run_is_mirrored(store, games, tmp_path, capfd):
    base = tmp_path.name
    wrong = watch(store, base)
    secrets = [value for value in store.environment().values() if "canary" in value]
    given = ("--input-path", str(games), "--checkpoint-interval", "2steps")
    assert _learn(tmp_path, *given, *flags(store, f"/{base}/")) == 0
    assert wrong == []
    (models,) = (tmp_path / "models").iterdir()
    name = models.name
    objects = store.objects(base)
    below = {key.removeprefix(f"{base}/"): data for key, data in objects.items()}
    pointers = json.loads(below[f"models/{name}/checkpoints.json"])["links"]
    links = {
        path.name: path.readlink().name
        for path in models.iterdir()
        if path.is_symlink()
    }
    assert pointers == links
    for target in links.values():
        for path in (models / target).iterdir():
            if path.name not in {"state.json", "MANIFEST.json"}:
                assert below[f"models/{name}/{target}/{path.name}"] == path.read_bytes()
    assert below[f"models/{name}/best.onnx"] == (models / "best.onnx").read_bytes()
    (events,) = [key for key in below if ".tfevents." in key]
    assert re.fullmatch(
        rf"logs/{name}/events\.out\.tfevents\.\d+\.maou\.\d+\.\d+", events
    )
    logs = tmp_path / "logs" / name
    (local,) = logs.glob("*.tfevents.*")
    assert below[events] == local.read_bytes()
    metrics = (logs / "metrics.jsonl").read_bytes()
    assert below[f"logs/{name}/metrics.jsonl"] == metrics
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[-1] == "pending      nothing"
    begin = next(i for i, line in enumerate(lines) if line.startswith("uploaded     "))
    listed = "\n".join(lines[begin:])
    assert f"models/{name}/{links['last']} (" in listed
    assert f"models/{name}/best.onnx" in listed
    hidden = [str(tmp_path), str(Path(session.__file__).parents[3]), "private/games"]
    for secret in ("canary", *secrets):
        assert secret not in said.out + said.err
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    for key, data in objects.items():
        assert socket.gethostname() not in key
        for text in (*hidden, "canary", *secrets):
            assert text.encode() not in data, (key, text)


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_a_fetched_copy_is_evaluated_and_goes_on(store, games, tmp_path, capfd):
    base = tmp_path.name
    source = ("--input-path", str(games))
    quiet = (*source, "--no-export-onnx")
    assert _learn(tmp_path, *quiet, *flags(store, base)) == 0
    (models,) = (tmp_path / "models").iterdir()
    there = tmp_path / "there"
    download(store.objects(base), base, there)
    fetched = there / "models" / models.name
    for folder in fetched.glob("epoch-*"):
        verify_manifest(folder)
    assert run(["evaluate", "--model", str(fetched), *source]) == 0
    assert _learn(there, "--resume-from", str(fetched), *source, "--epoch", "3") == 0
    assert _learn(tmp_path, "--resume-from", str(models), "--epoch", "3") == 0
    here, copy = ((run / "last" / "model.safetensors") for run in (models, fetched))
    assert here.read_bytes() == copy.read_bytes()
    objects = store.objects(base)
    assert unsound(objects) == []
    assert {key.split("/")[2] for key in objects} == {models.name}
    assert capfd.readouterr().out.splitlines()[-1] == "pending      nothing"
    assert len([key for key in objects if ".tfevents." in key]) == 3, "one a process"


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_training_does_not_wait_for_a_store_that_hangs(store, games, tmp_path, capfd):
    """All steps of all epochs are made before the store answers its first request."""
    go = threading.Event()
    store.proxy.always_write = Fault(before=lambda: go.wait(60))
    given = ("--input-path", str(games), "--no-export-onnx", "--upload-timeout", "0.1")
    code = _learn(tmp_path, *given, *flags(store, tmp_path.name))
    assert not go.is_set()
    go.set()
    assert code == 0
    said = capfd.readouterr()
    assert "validation after epoch 2" in said.err
    (models,) = (tmp_path / "models").iterdir()
    last = said.out[said.out.index("pending      ") :]
    assert "epoch-0002-step-" in last
    assert "not done within 0.1 s (--upload-timeout)" in last
    on = f"maou learn-model --resume-from {models} --upload-timeout 600"
    assert last.rstrip().endswith(on)
    store.proxy.reset()
    assert _learn(tmp_path, *shlex.split(on)[2:]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "pending      nothing"
    assert unsound(store.objects(tmp_path.name)) == []


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_a_complete_run_goes_to_a_place_that_was_corrected(
    store, games, tmp_path, capfd
):
    """The command repeats what no checkpoint has: the place, and more time."""
    given = ("--input-path", str(games), "--no-export-onnx", "--epoch", "1")
    wrong = ("--s3-bucket-name", "nobucket", "--upload-timeout", "0")
    assert _learn(tmp_path, *given, *flags(store, tmp_path.name), *wrong) == 0
    (models,) = (tmp_path / "models").iterdir()
    capfd.readouterr()
    right = ("--s3-bucket-name", BUCKET)
    store.proxy.always_write = Fault(status=503)
    assert run(["learn-model", "--resume-from", str(models), *right]) == 0
    on = capfd.readouterr().out.rstrip().rpartition("To upload the rest: ")[2]
    checkpoint = (models / "last").resolve()
    assert on == (
        f"maou learn-model --resume-from {checkpoint} --s3-bucket-name {BUCKET} "
        "--upload-timeout 600"
    )
    store.proxy.reset()
    assert run(shlex.split(on)[1:]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "pending      nothing"
    assert unsound(store.objects(tmp_path.name)) == []


@pytest.mark.parametrize(
    ("provider", "module", "extra"),
    [("s3", "boto3", "aws"), ("gcs", "google.cloud.storage", "gcp")],
)
def test_without_the_extra_a_run_writes_here(
    provider, module, extra, games, tmp_path, capfd, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    place = (f"--{provider}-bucket-name", "b", f"--{provider}-base-path", "p")
    given = ("--input-path", str(games), "--no-export-onnx", "--epoch", "1")
    assert _learn(tmp_path, *given, f"--output-{provider}", *place) == 0
    said = capfd.readouterr()
    line = f"pip install 'maou[{extra}]' or poetry install -E {extra}"
    assert said.err.index(line) < said.err.index("validation before training")
    assert list((tmp_path / "models").glob("*/last/MANIFEST.json"))
    assert "uploaded" not in said.out


def test_event_files_are_cut_at_a_whole_record(tmp_path):
    from torch.utils.tensorboard.writer import SummaryWriter

    from maou.publish.payload import Payload

    writer = SummaryWriter(str(tmp_path))
    for step in range(20):
        writer.add_scalar("x", step, step)
    writer.close()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with Payload.of_file(path, "md5") as payload:
        kept = payload.read(0, payload.size)
    path.write_bytes(kept)
    assert len(EventAccumulator(str(path)).Reload().Scalars("x")) == 19
    assert whole.startswith(kept)
