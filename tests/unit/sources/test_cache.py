"""The cache: what is whole stays, what a live run needs is never removed."""

import gc
import multiprocessing
import os
import threading

import pytest

from maou.errors import ConfigError
from maou.sources.cache import Cache, entry_name, private_cache


def _add(cache: Cache, name: str, data: bytes, age: float = 0) -> None:
    with cache.adding(name):
        with cache.part(name) as stream:
            stream.write(data)
        cache.commit(name, {"object": "s3://b/k"})
    then = cache.path(name).stat().st_mtime - age
    os.utime(cache.path(name), (then, then))


def _names(count: int) -> list[str]:
    return [entry_name(".hcpe", "s3", "bucket", f"key {i}", "v") for i in range(count)]


def test_a_name_is_a_hash_of_everything_that_identifies():
    names = {
        entry_name(".hcpe", "s3", "bucket", "key", "v1"),
        entry_name(".hcpe", "gcs", "bucket", "key", "v1"),
        entry_name(".hcpe", "s3", "bucke", "tkey", "v1"),
        entry_name(".hcpe", "s3", "bucket", "key", "v2"),
        entry_name(".HCPE", "s3", "bucket", "../../key", "v2"),
    }
    assert len(names) == 5
    for name in names:
        assert len(name) == 64 + len(".hcpe")
        assert name.endswith(".hcpe")
        assert "/" not in name


def test_an_entry_is_seen_when_it_is_whole(tmp_path):
    cache, (name,) = Cache(tmp_path), _names(1)
    with cache.adding(name):
        with cache.part(name) as stream:
            stream.write(b"12345")
        assert not cache.has(name)
        cache.commit(name, {"object": "s3://b/k"})
    assert cache.has(name, 5)
    assert not cache.has(name, 6)
    assert cache.path(name).with_suffix(".json").read_text().count("s3://b/k") == 1


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache, names = Cache(tmp_path, limit=10), _names(4)
    for index, name in enumerate(names[:3]):
        _add(cache, name, b"123", age=100 - index)
    lease = cache.reserve({names[0]: 3, names[3]: 3})
    assert [cache.has(name) for name in names] == [True, False, True, False]
    assert not cache.path(names[1]).with_suffix(".json").exists()
    del lease


def test_what_a_live_run_needs_stays_even_above_the_limit(tmp_path):
    cache, names = Cache(tmp_path, limit=6), _names(3)
    mine = cache.reserve({names[0]: 3, names[1]: 3})
    for name in names[:2]:
        _add(cache, name, b"123", age=100)
    others = cache.reserve({names[2]: 3})
    assert cache.has(names[0])
    assert cache.has(names[1])
    mine.release()
    others.release()
    del mine
    kept = cache.reserve({names[2]: 3})
    assert [cache.has(name) for name in names] == [False, True, False]
    del kept


def test_a_run_that_cannot_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="need 11 bytes; allow at least that"):
        Cache(tmp_path, limit=10).reserve(dict(zip(_names(2), (5, 6), strict=True)))


def _hold(folder, names, ready) -> None:
    lease = Cache(folder).reserve(names)
    ready.set()
    threading.Event().wait()
    del lease


def test_the_lease_of_a_killed_run_counts_no_more(tmp_path):
    cache, names = Cache(tmp_path, limit=3), _names(2)
    _add(cache, names[0], b"123", age=100)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, {names[0]: 3}, ready))
    process.start()
    assert ready.wait(30)
    cache.reserve({names[1]: 3}).release()
    assert cache.has(names[0])
    process.kill()
    process.join()
    cache.reserve({names[1]: 3}).release()
    assert not cache.has(names[0])
    assert not list((tmp_path / "leases").iterdir())


def test_dropped_entries_that_another_run_needs_stay(tmp_path):
    cache, names = Cache(tmp_path), _names(2)
    for name in names:
        _add(cache, name, b"123")
    mine, other = cache.protect(names), cache.protect(names[:1])
    cache.drop(names, mine)
    assert cache.has(names[0])
    assert not cache.has(names[1])
    del mine, other


def test_what_killed_runs_left_half_done_is_removed(tmp_path):
    cache, names = Cache(tmp_path), _names(2)
    for name in names:
        with cache.part(name) as stream:
            stream.write(b"12")
    cache.reserve({names[0]: 3}).release()
    assert [cache.part_path(name).exists() for name in names] == [True, False]


def test_a_private_cache_goes_with_the_run(tmp_path):
    cache, keep = private_cache(tmp_path)
    _add(cache, *_names(1), b"123")
    again, other = private_cache(tmp_path)
    assert cache.folder.exists(), "a live run's is left alone"
    del keep
    gc.collect()
    assert not cache.folder.exists()
    (again.folder / "lease").unlink()
    left = tmp_path / "private" / "left"
    left.mkdir()
    (left / "lease").touch()
    _, last = private_cache(tmp_path)
    assert not left.exists(), "a killed run's is removed"
    del other, last


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--input-local-cache-dir"):
        Cache(tmp_path / "file" / "cache")
