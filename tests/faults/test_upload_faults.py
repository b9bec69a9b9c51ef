"""Uploads against stores that fail: success after retries, or a line that says so.

Whatever happens, nobody ever sees a checkpoint whose manifest is there and whose files
are not, or a pointer to such a one; and nothing is sent twice.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from cloud_stores import QUICK
from fault_proxy import Fault
from maou.checkpoint.manifest import seal, verify_manifest
from maou.errors import Interrupted
from maou.publish import gcs, s3, session, worker
from maou.settings import as_plain
from published_runs import Run, download, settings, unsound, watch

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(session, "RETRIES", QUICK)


@pytest.fixture
def saved(tmp_path) -> Run:
    made = Run(tmp_path)
    made.save(10, "best")
    made.save(20)
    return made


@pytest.fixture
def config(store, tmp_path):
    return settings(store.provider, tmp_path.name)


def _complete(store, saved, tmp_path) -> dict[str, bytes]:
    """Check that the bucket has what the run's folder has; give the objects."""
    objects = store.objects(tmp_path.name)
    assert unsound(objects) == []
    prefix = f"{tmp_path.name}/models/{saved.name}/"
    there = {key.removeprefix(prefix).split("/")[0] for key in objects}
    here = {path.name for path in saved.models.glob("epoch-*")}
    assert {name for name in there if name.startswith("epoch-")} == here
    return objects


@pytest.mark.parametrize(
    ("fault", "at"),
    [
        (Fault(status=500), 4),
        (Fault(status=503), 0),
        (Fault(status=429), 9),
        (Fault(kind="reset"), 4),
        (Fault(kind="flip"), 4),
        (Fault(kind="lost"), 0),
        (Fault(kind="slow"), 4),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(store, saved, config, tmp_path, fault, at):
    wrong = watch(store, tmp_path.name)
    store.proxy.on_write += [Fault()] * at + [fault, fault]
    told = saved.publish(config)
    assert wrong == []
    assert told.warnings == []
    assert told.results[-1] == "pending      nothing"
    _complete(store, saved, tmp_path)


def test_each_object_is_sent_once(store, saved, config, tmp_path):
    saved.publish(config)
    objects = store.objects(tmp_path.name)
    assert len(store.proxy.writes) == len(objects) + 1, "checkpoints.json, twice"
    store.proxy.reset()
    told = saved.publish(config)
    assert told.results[-1] == "pending      nothing"
    assert len(store.proxy.writes) == 1, "the claim, which is there"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (503, "failed 4 times, the last time with: HTTP 503"),
        (403, "may not write here"),
        (418, "the store refused the request"),
    ],
)
def test_what_stays_is_one_line_and_the_rest_comes_later(
    store, saved, config, tmp_path, status, says
):
    store.proxy.on_write += [Fault()] * 7
    store.proxy.always_write = Fault(status=status, body=b"canary")
    told = saved.publish(config)
    assert len(told.warnings) == 1
    assert says in told.warnings[0]
    text = "\n".join(told.results)
    assert "canary" not in text + told.warnings[0]
    assert f"maou learn-model --resume-from {saved.models}" in told.results[-1]
    assert "epoch-0001-step-00000020" in text[text.index("pending") :]
    before = store.objects(tmp_path.name)
    assert unsound(before) == []
    store.proxy.reset()
    told = saved.publish(config)
    assert told.results[-1] == "pending      nothing"
    objects = _complete(store, saved, tmp_path)
    new = len(objects.keys() - before.keys())
    assert len(store.proxy.writes) == new + 2, "the claim, and checkpoints.json"


def test_expired_credentials_are_said(store, saved, config):
    status, body = store.expired()
    store.proxy.always_write = Fault(status=status, body=body)
    told = saved.publish(config)
    assert "the credentials have expired" in told.warnings[0]
    assert "canary" not in "".join((*told.warnings, *told.results))


def test_a_bucket_that_is_not_there(store, saved, config):
    nowhere = {f"{store.provider}_bucket_name": "no-such-bucket"}
    told = saved.publish(settings(store.provider, "x", **nowhere))
    assert f"Check --{store.provider}-bucket-name" in told.warnings[0]
    assert told.results[0] == "uploaded     nothing"


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_a_store_that_is_away(store, saved, config, monkeypatch):
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value.replace(store.proxy.url, "http://127.0.0.1:9"))
    told = saved.publish(config)
    assert "failed 4 times" in told.warnings[0]


def test_two_runs_of_one_name_stay_apart(store, saved, config, tmp_path):
    saved.publish(config)
    other = Run(tmp_path / "other")
    other.save(10, content=1)
    told = other.publish(config)
    assert told.results[-1] == "pending      nothing"
    objects = store.objects(tmp_path.name)
    assert unsound(objects) == []
    places = {key.split("/")[2] for key in objects}
    assert places == {saved.name, f"{saved.name}-1"}
    assert any(
        f"{saved.name}-1/epoch-0001-step-00000010" in line for line in told.results
    )


def test_a_run_that_saves_faster_than_the_store_takes(store, config, tmp_path):
    """What was removed here before its turn is left out; the last always comes."""
    wrong = watch(store, tmp_path.name)
    run, go = Run(tmp_path), threading.Event()

    def train(uploads) -> None:
        store.proxy.on_write += [Fault()] * 5 + [Fault(before=lambda: go.wait(30))]
        for step in range(10, 60, 10):
            links = ("best",) if step == 20 else ()
            uploads.checkpoint(run.save(step, *links))
        assert not go.is_set(), "five checkpoints, and the store has not answered"
        go.set()

    told = run.publish(config, train)
    assert wrong == []
    assert told.results[-1] == "pending      nothing"
    objects = _complete(store, run, tmp_path)
    links = objects[f"{tmp_path.name}/models/{run.name}/checkpoints.json"]
    assert b'"best": "epoch-0001-step-00000020"' in links
    assert b'"last": "epoch-0001-step-00000050"' in links
    begun = {one.path for one in store.proxy.writes if "step-00000030" in one.path}
    assert not begun
    assert not list((run.models / ".upload" / "held").glob("*"))


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_copies_beside_checkpoints_are_not_published(store, saved, config, tmp_path):
    newest = (saved.models / "last").resolve()
    copy = shutil.copytree(newest, newest.with_name(f"{newest.name}-good"))
    told = saved.publish(config)
    assert told.warnings == []
    assert told.results[-1] == "pending      nothing"
    shutil.rmtree(copy)
    _complete(store, saved, tmp_path)


def test_a_step_that_was_made_again_differently(store, saved, config, tmp_path):
    saved.publish(config)
    wrong = watch(store, tmp_path.name)
    (saved.models / "epoch-0001-step-00000020").rename(tmp_path / "old")
    saved.save(20, content=1)
    told = saved.publish(config)
    assert wrong == []
    assert told.results[-1] == "pending      nothing"
    objects = _complete(store, saved, tmp_path)
    place = f"{tmp_path.name}/models/{saved.name}/epoch-0001-step-00000020"
    data = (saved.models / "last" / "model.safetensors").read_bytes()
    assert objects[f"{place}/model.safetensors"] == data


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_damaged_files_are_not_published(store, saved, config, tmp_path):
    (saved.models / "last" / "model.safetensors").write_bytes(b"x" * saved.size)
    told = saved.publish(config)
    assert "does not match MANIFEST.json" in told.warnings[0]
    assert "pending      epoch-0001-step-00000020" in "\n".join(told.results)
    objects = store.objects(tmp_path.name)
    assert unsound(objects) == []
    assert any("step-00000010/MANIFEST.json" in key for key in objects)


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_stores_that_allow_no_removal_keep_more(store, saved, config, tmp_path):
    saved.publish(config)
    store.proxy.always_remove = Fault(status=403)
    told = saved.publish(config, lambda uploads: uploads.checkpoint(saved.save(30)))
    assert told.warnings == []
    assert told.results[-1] == "pending      nothing"
    objects = store.objects(tmp_path.name)
    assert unsound(objects) == []
    assert len([key for key in objects if key.endswith("MANIFEST.json")]) == 3


def _large(tmp_path, monkeypatch) -> Run:
    """A run whose model goes in three parts."""
    for module in (gcs, s3):
        monkeypatch.setattr(module, "PART", 5 << 20)
    run = Run(tmp_path, size=(12 << 20) + 5)
    folder = run.save(10, "best")
    for name in ("optimizer", "random"):  # one is enough
        (folder / f"{name}.safetensors").write_bytes(b"small")
    (folder / "MANIFEST.json").unlink()
    seal(folder)
    return run


@pytest.mark.parametrize(("kind", "at"), [("503", 3), ("reset", 4), ("lost", 4)])
def test_large_objects_go_on_where_they_broke_off(
    store, config, tmp_path, monkeypatch, kind, at
):
    run = _large(tmp_path, monkeypatch)
    wrong = watch(store, tmp_path.name)
    fault = Fault(status=503) if kind == "503" else Fault(kind=kind)
    store.proxy.on_write += [Fault()] * at + [fault]
    told = run.publish(config)
    assert wrong == []
    assert told.warnings == []
    assert told.results[-1] == "pending      nothing"
    _complete(store, run, tmp_path)
    sent = sum(one.size for one in store.proxy.writes if one.size > 1 << 20)
    again = 5 << 20 if kind == "lost" and store.provider == "s3" else 0
    assert sent <= run.size + 5000 + max(again, 0 if kind == "reset" else 5 << 20)


KILLED = """
import sys
from pathlib import Path
from maou.publish import gcs, s3
gcs.PART = s3.PART = 5 << 20
sys.path.insert(0, sys.argv[1])
from published_runs import Run, settings
run = Run(Path(sys.argv[2]), size=int(sys.argv[5]))
run.publish(settings(sys.argv[3], sys.argv[4]))
"""


def test_a_kill_in_mid_upload(store, config, tmp_path, monkeypatch):
    run = _large(tmp_path, monkeypatch)
    wrong = watch(store, tmp_path.name)
    held, kill = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        kill.wait(30)

    store.proxy.on_write += [Fault()] * 3 + [Fault(before=hold)]
    tests = str(Path(__file__).parents[1])
    size = str(run.size)
    words = (tests, str(tmp_path), store.provider, tmp_path.name, size)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *words],
        env={**os.environ, "PYTHONPATH": str(SRC)},
    ) as process:
        assert held.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kill.set()
    before = sum(one.size for one in store.proxy.writes)
    told = run.publish(config)
    assert wrong == []
    assert told.results[-1] == "pending      nothing"
    _complete(store, run, tmp_path)
    whole = sum(len(data) for data in store.objects(tmp_path.name).values())
    sent = sum(one.size for one in store.proxy.writes)
    # Sent again is only what was on its way, and the claim.
    again = 5 << 20 if store.provider == "s3" else run.size
    assert before < sent <= whole + again + 20_000


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_a_store_that_hangs_stops_nobody(store, config, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "INTERRUPTED", 0.2)
    monkeypatch.setattr(session, "INTERRUPTED", 0.2)
    run, go = Run(tmp_path), threading.Event()
    store.proxy.always_write = Fault(before=lambda: go.wait(30))

    def train(uploads) -> None:
        for step in (10, 20, 30):
            uploads.checkpoint(run.save(step))
        raise Interrupted(15, "saved")

    with pytest.raises(Interrupted):
        run.publish(config, train)
    assert not go.is_set()
    go.set()


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
@pytest.mark.parametrize("signals", [1, 2])
def test_a_second_signal_ends_the_wait(
    store, saved, config, tmp_path, monkeypatch, signals
):
    """After the first, which comes when training is over, it goes on for a while."""
    go, wait = threading.Event(), worker.Worker.wait
    interrupt = partial(os.kill, os.getpid(), signal.SIGINT)
    in_a_moment = [threading.Timer(0.2, interrupt) for _ in range(signals)]
    before = [*(timer.start for timer in in_a_moment), go.set][:2]

    def interrupted(*given) -> None:
        before.pop(0)()
        wait(*given)

    monkeypatch.setattr(worker.Worker, "wait", interrupted)
    store.proxy.always_write = Fault(before=lambda: go.wait(30))
    with pytest.raises(KeyboardInterrupt):
        saved.publish(config)
    assert before == []
    assert go.is_set() == (signals == 1)
    go.set()
    if signals == 1:
        _complete(store, saved, tmp_path)


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_a_signal_that_ends_at_once_waits_for_no_upload(
    store, saved, config, monkeypatch
):
    def train(_) -> None:
        raise SystemExit(130)

    monkeypatch.delattr(worker.Worker, "wait")
    with pytest.raises(SystemExit):
        saved.publish(config, train)


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_without_time_the_pending_are_listed(store, saved, tmp_path):
    config = settings(store.provider, tmp_path.name, upload_timeout=0)
    store.proxy.always_write = Fault(kind="slow")
    told = saved.publish(config)
    text = "\n".join(told.results)
    assert "pending      logs and models, epoch-0001-step-00000010, epoch-" in text
    assert "not done within 0 s (--upload-timeout)" in text
    assert text.endswith(f"--resume-from {saved.models} --upload-timeout 600")


def test_a_copy_names_the_place_where_it_is(store, saved, config, tmp_path):
    """Not the one that the run began with and that was mistaken."""
    state = saved.models / "last" / "state.json"
    began = json.loads(state.read_text())
    mistaken = settings(store.provider, tmp_path.name, upload_timeout=7)
    began["settings"]["publish"] = {
        **as_plain(mistaken),
        f"{store.provider}_bucket_name": "nobucket",
    }
    state.write_text(json.dumps(began))
    (state.parent / "MANIFEST.json").unlink()
    seal(state.parent)
    saved.publish(config)
    objects = store.objects(tmp_path.name)
    assert unsound(objects) == []
    place = f"{tmp_path.name}/models/{saved.name}/{state.parent.resolve().name}"
    copy = json.loads(objects[f"{place}/state.json"])["settings"]["publish"]
    assert copy == as_plain(mistaken)


def test_a_fetched_copy_is_sound_and_goes_on_in_its_place(
    store, saved, config, tmp_path
):
    saved.publish(config)
    other = Run(tmp_path / "elsewhere")
    prefix = f"{tmp_path.name}/models/{saved.name}"
    download(store.objects(prefix), prefix, other.models)
    for folder in other.models.glob("epoch-*"):
        verify_manifest(folder)
    store.proxy.reset()
    told = other.publish(config)
    assert told.results[-1] == "pending      nothing"
    objects = store.objects(tmp_path.name)
    assert {key.split("/")[2] for key in objects} == {saved.name}
    assert len(store.proxy.writes) == 1, "the claim, which is there"
