"""Training from real object stores (moto's S3 and fake-gcs-server), by their SDKs."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cloud_stores import BUCKET, QUICK
from fault_proxy import Fault
from maou.cli.main import run
from maou.data.pipeline import open_data, split_sides
from maou.errors import DataError, RemoteError
from maou.sources.config import SourceConfig
from maou.sources.fetch import list_objects
from maou.sources.local import open_local_shards
from maou.sources.stores import STORES

TINY = (
    *("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8"),
    *("--epoch", "1", "--batch-size", "50", "--no-export-onnx"),
)
SHARDS = ("b/2.hcpe", "a.hcpe", "b/10.hcpe", "é x.hcpe", "Z.hcpe")


@pytest.fixture
def folder(tmp_path, selfplay_rows) -> Path:
    """A folder of shards whose names sort in more ways than one, and other files."""
    root = tmp_path / "local"
    for number, name in enumerate(SHARDS):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(selfplay_rows[200 * number : 200 * (number + 1)].tobytes())
    (root / "README.md").write_text("not a shard")
    (root / ".hidden.hcpe").write_text("not a shard")
    return root


@pytest.fixture
def name(store, folder, tmp_path) -> str:
    """The same files as a data set of the store, and a neighbour of a like name."""
    store.upload(folder, tmp_path.name)
    store.put(f"sets/{tmp_path.name}-other/1.hcpe", b"x")
    store.proxy.reset()
    return tmp_path.name


def _learn(tmp_path, *arguments: str) -> Path:
    """Train; give the run's folder."""
    before = set((tmp_path / "models").glob("*"))
    places = ("--model-dir", str(tmp_path / "models"))
    places += ("--log-dir", str(tmp_path / "logs"))
    assert run(["learn-model", *TINY, *places, *arguments]) == 0
    (made,) = set((tmp_path / "models").glob("*")) - before
    return made


def _weights(folder: Path) -> bytes:
    return (folder / "last" / "model.safetensors").read_bytes()


def _flags(store, name, cache) -> tuple[str, ...]:
    return (
        *(f"--input-{store.provider}", "--input-bucket-name", BUCKET),
        *("--input-prefix", "sets", "--input-data-name", name),
        *("--input-local-cache-dir", str(cache)),
    )


def test_names_order_and_rows_are_those_of_a_folder(store, name, folder, tmp_path):
    here = open_local_shards(folder)
    there = store.open(name, tmp_path / "cache")
    count = len(here.shards)
    assert [there.name(i) for i in range(count)] == [here.name(i) for i in range(count)]
    assert there.fingerprint() == here.fingerprint()
    assert [path.name for path in there.ignored] == ["README.md"]
    for ours, theirs in zip(here.shards, there.shards, strict=True):
        assert np.array_equal(ours.read(0, ours.rows), theirs.read(0, theirs.rows))


def test_a_second_start_moves_no_bytes(store, name, tmp_path):
    store.open(name, tmp_path / "cache")
    assert len(store.proxy.reads) == len(SHARDS)
    store.proxy.reset()
    again = store.open(name, tmp_path / "cache")
    assert store.proxy.reads == []
    assert "0 fetched" in again.origin


def test_a_changed_object_is_fetched_again(store, name, tmp_path, selfplay_rows):
    store.open(name, tmp_path / "cache")
    store.put(f"sets/{name}/a.hcpe", selfplay_rows[5000:5200].tobytes())
    store.proxy.reset()
    shards = store.open(name, tmp_path / "cache")
    assert len(store.proxy.reads) == 1
    assert np.array_equal(shards.shards[1].read(0, 200), selfplay_rows[5000:5200])


def test_starts_at_the_same_time_share_the_fetch(store, name, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        starts = [pool.submit(store.open, name, tmp_path / "cache") for _ in range(3)]
        found = {start.result().fingerprint() for start in starts}
    assert len(found) == 1
    assert len(store.proxy.reads) == len(SHARDS)


def test_the_weights_are_those_of_a_local_run(store, name, folder, tmp_path, capfd):
    here = _learn(tmp_path, "--input-path", str(folder))
    workers = "1" if store.provider == "s3" else "0"  # a process takes 4 s to start
    flags = (*_flags(store, name, tmp_path / "cache"), "--dataloader-workers", workers)
    there = _learn(tmp_path, *flags)
    assert _weights(there) == _weights(here)
    said = capfd.readouterr().err
    assert f"/sets/{name}/: 5 objects, 0.0 MB arrive in the order of use" in said


def test_bundles_are_files_joined_in_order(store, name, folder, tmp_path):
    bundling = {"input_enable_bundling": True, "input_bundle_size_gb": 0.0000155}
    first = store.open(name, tmp_path / "cache", **bundling)
    assert first.origin.endswith("5 fetched (0.0 MB); bundled into 3 files")
    store.proxy.reset()
    again = store.open(name, tmp_path / "cache", **bundling)
    assert store.proxy.reads == [], "a second start has the bundles"
    joined = tmp_path / "joined"
    for bundle in (("Z.hcpe", "a.hcpe"), ("b/10.hcpe", "b/2.hcpe"), ("é x.hcpe",)):
        (joined / bundle[0]).parent.mkdir(parents=True, exist_ok=True)
        parts = [(folder / part).read_bytes() for part in bundle]
        (joined / bundle[0]).write_bytes(b"".join(parts))
    here = open_local_shards(joined).fingerprint()
    assert first.fingerprint() == again.fingerprint() == here
    entries = list((tmp_path / "cache" / "objects").glob("*/*.hcpe"))
    assert len(entries) == 3, "what was joined is not kept twice"


def test_the_cache_stays_below_its_limit(store, name, tmp_path, selfplay_rows):
    cache, size = tmp_path / "cache", 5 * 200 * 38
    first = store.open(name, cache, input_max_cached_bytes=size + 8000)
    del first
    store.put(f"sets/{name}2/1.hcpe", selfplay_rows[:400].tobytes())
    shards = store.open(f"{name}2", cache, input_max_cached_bytes=size + 8000)
    held = [path.stat().st_size for path in (cache / "objects").glob("*/*.hcpe")]
    assert sum(held) <= size + 8000
    assert shards.rows == 400


def test_without_a_cache_nothing_is_left(store, name, tmp_path):
    shards = store.open(name, tmp_path / "cache", input_local_cache=False)
    assert len(list((tmp_path / "cache" / "private").iterdir())) == 1
    del shards
    gc.collect()
    assert not list((tmp_path / "cache" / "private").iterdir())
    assert not list((tmp_path / "cache" / "objects").iterdir())


def test_workers_fetch_at_a_time(store, name, tmp_path):
    running, most, lock = 0, 0, threading.Lock()

    def enter() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1

    for workers in (1, 3):
        most = 0
        store.proxy.always = Fault(before=enter)
        cache = tmp_path / f"cache {workers}"
        store.open(name, cache, input_max_workers=workers)
        assert most == workers


def test_one_object_and_no_prefix(store, name, tmp_path):
    shards = store.open(f"{name}/a.hcpe", tmp_path / "cache")
    assert shards.name(0) == "a.hcpe"
    source = {"input_prefix": "", "input_data_name": f"/sets/{name}/b/"}
    shards = store.open("", tmp_path / "cache", **source)
    assert [shards.name(i) for i in range(2)] == ["10.hcpe", "2.hcpe"]


def test_places_where_nothing_is(store, name, tmp_path):
    with pytest.raises(DataError, match=r"no-such/?: no shards here"):
        store.open("no-such", tmp_path / "cache")
    with pytest.raises(RemoteError, match="there is no such bucket"):
        store.open(name, tmp_path / "cache", input_bucket_name="no-such-bucket")
    store.put(f"sets/{name}3/1.hcpe", b"x" * 39)
    with pytest.raises(
        DataError, match=rf"{name}3/1\.hcpe: .*39 bytes are not a whole"
    ):
        store.open(f"{name}3", tmp_path / "cache")


def test_ten_thousand_objects_are_listed_in_pages(store):
    store.fill("many", 10_000)
    bucket = STORES[store.provider](BUCKET, 1)
    keys = [item.key for item in list_objects(bucket, "many/", QUICK)]
    assert sorted(keys) == [f"many/{number:05}.hcpe" for number in range(10_000)]
    assert len([one for one in store.proxy.lists if "prefix=many" in one.path]) == 10


def test_preprocess_pairs_stay_apart(store, tmp_path, preprocess_folder):
    store.upload(preprocess_folder, tmp_path.name)
    form = {"input_format": "preprocess", "input_file_packed": True}
    here = open_data(SourceConfig(preprocess_folder, **form))
    there = open_data(store.source(tmp_path.name, tmp_path / "cache", **form))
    form["input_enable_bundling"] = True
    bundled = open_data(store.source(tmp_path.name, tmp_path / "cache", **form))
    assert there.fingerprint() == here.fingerprint()
    names = [bundled.name(i).split("/")[0] for i in range(2)]
    assert names == ["train", "validation"]
    sides = [[side.count for side in split_sides(s, 0.2, 0)] for s in (here, bundled)]
    assert sides[0] == sides[1]
    assert len(here.shards) > len(bundled.shards) == 2


@pytest.fixture
def preprocess_folder(tmp_path, selfplay_path) -> Path:
    """What pre-process makes of some games, in two shards a side."""
    games = tmp_path / "games.hcpe"
    games.write_bytes(selfplay_path.read_bytes()[: 38 * 4000])
    out = tmp_path / "preprocess"
    given = ("--input-path", str(games), "--output-dir", str(out))
    assert run(["pre-process", *given, "--shard-rows", "1000"]) == 0
    return out
