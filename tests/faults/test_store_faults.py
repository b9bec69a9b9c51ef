"""Every fault of a store ends in success after retries, or in one clear error.

Either way the cache stays sound: after an error the next start fetches what is missing,
and nothing that is wrong or half done ever has an entry's name.
"""

import pytest

from cloud_stores import QUICK
from fault_proxy import Fault
from maou.errors import RemoteError
from maou.sources.cache import Cache

ROWS = 4000
"""Of a shard: half of one is more than is read at a time."""


@pytest.fixture
def data(store, tmp_path, selfplay_rows):
    """Three shards; their contents in order."""
    parts = []
    for number in range(3):
        parts.append(selfplay_rows[ROWS * number : ROWS * (number + 1)].tobytes())
        store.put(f"sets/{tmp_path.name}/{number}.hcpe", parts[-1])
    store.proxy.reset()
    return parts


def _contents(shards) -> list[bytes]:
    return [shard.path.read_bytes() for shard in shards.shards]


def _entries(cache) -> list[bytes]:
    files = (cache / "objects").glob("*/*.hcpe")
    return sorted(path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429),
        Fault(kind="reset"),
        Fault(kind="truncate"),
        Fault(kind="flip"),
        Fault(kind="slow"),
    ],
    ids=["500", "503", "429", "reset", "truncate", "flip", "slow"],
)
def test_what_passes_is_tried_again(store, data, tmp_path, fault):
    store.proxy.faults += [fault, fault]
    shards = store.open(tmp_path.name, tmp_path / "cache", input_max_workers=1)
    assert _contents(shards) == data
    assert len(store.proxy.reads) == (3 if fault.kind == "slow" else 5)
    resumed = [request for request in store.proxy.reads if request.begin]
    assert len(resumed) == (2 if fault.kind in {"reset", "truncate"} else 0)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=503), "503"),
        (Fault(status=429), "429"),
        (Fault(kind="flip"), "checksum does not match"),
        (Fault(status=404), "between listing and reading"),
        (Fault(status=403), "access denied"),
        (Fault(status=412), "changed or removed between"),
    ],
    ids=["503", "429", "flip", "404", "403", "412"],
)
def test_what_stays_is_one_error(store, data, tmp_path, fault, says):
    cache = tmp_path / "cache"
    store.proxy.faults += [Fault(), Fault()]
    store.proxy.always = fault
    with pytest.raises(RemoteError, match=says) as caught:
        store.open(tmp_path.name, cache, input_max_workers=1)
    assert "canary" not in str(caught.value)
    assert f"/{tmp_path.name}/2.hcpe: " in str(caught.value)
    assert _entries(cache) == sorted(data[:2])
    store.proxy.reset()
    assert _contents(store.open(tmp_path.name, cache)) == data
    assert len(store.proxy.reads) == 1, "what was fetched before is kept"


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_an_object_that_was_uploaded_in_parts_is_verified(
    store, tmp_path, selfplay_rows
):
    """Its ETag hashes the parts' hashes; one request tells how large these are."""
    rows = selfplay_rows[:ROWS].tobytes()
    parts = [rows[:60_000], rows[60_000:120_000], rows[120_000:]]
    store.put_in_parts(f"sets/{tmp_path.name}/0.hcpe", parts)
    store.proxy.reset()
    store.proxy.faults.append(Fault(kind="flip"))
    shards = store.open(tmp_path.name, tmp_path / "cache")
    assert _contents(shards) == [rows]
    methods = [request.method for request in store.proxy.requests]
    assert methods == ["GET", "GET", "HEAD", "GET"]
    store.proxy.always = Fault(kind="flip")
    with pytest.raises(RemoteError, match="md5 checksum does not match"):
        store.open(tmp_path.name, tmp_path / "another")


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
@pytest.mark.parametrize("told", ["other parts", "nothing"])
def test_of_parts_that_nobody_knows_the_size_is_what_counts(
    store, tmp_path, selfplay_rows, told
):
    rows = selfplay_rows[:ROWS].tobytes()
    first = 1000 if told == "other parts" else 100_000
    store.put_in_parts(f"sets/{tmp_path.name}/0.hcpe", [rows[:first], rows[first:]])
    store.proxy.reset()
    if told == "nothing":
        store.proxy.on_list += [Fault(), Fault(status=501)]
    shards = store.open(tmp_path.name, tmp_path / "cache")
    assert _contents(shards) == [rows]
    assert [request.method for request in store.proxy.requests][-1] == "HEAD"


def test_an_endless_reset_gives_up(store, data, tmp_path):
    store.proxy.always = Fault(status=500)
    with pytest.raises(RemoteError, match=f"failed {QUICK.attempts} times"):
        store.open(tmp_path.name, tmp_path / "cache", input_max_workers=1)
    assert len(store.proxy.reads) == QUICK.attempts


def test_expired_credentials_are_said_at_once(store, data, tmp_path):
    status, body = store.expired()
    store.proxy.on_list += [Fault(status=status, body=body)] * 3
    with pytest.raises(RemoteError, match="credentials have expired") as caught:
        store.open(tmp_path.name, tmp_path / "cache")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_listing_is_tried_again(store, data, tmp_path):
    store.proxy.on_list += [Fault(status=503), Fault(status=500)]
    shards = store.open(tmp_path.name, tmp_path / "cache")
    assert _contents(shards) == data


@pytest.mark.parametrize("from_byte", ["the first", "the middle"])
def test_an_object_that_changes_after_the_listing(store, data, tmp_path, from_byte):
    key = f"sets/{tmp_path.name}/0.hcpe"
    change = Fault(before=lambda: store.put(key, data[1]))
    if from_byte == "the middle":
        store.proxy.faults.append(Fault(kind="truncate"))
    store.proxy.faults.append(change)
    cache = tmp_path / "cache"
    with pytest.raises(RemoteError, match="changed or removed between listing"):
        store.open(tmp_path.name, cache, input_max_workers=1)
    assert data[0] not in _entries(cache)
    store.proxy.reset()
    assert _contents(store.open(tmp_path.name, cache)) == [data[1], *data[1:]]


def test_a_server_that_is_away(store, data, tmp_path, monkeypatch):
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value.replace(store.proxy.url, "http://127.0.0.1:9"))
    with pytest.raises(RemoteError, match="start again when the store answers"):
        store.open(tmp_path.name, tmp_path / "cache")


def test_a_killed_fetch_goes_on_where_it_was(store, data, tmp_path):
    cache = tmp_path / "cache"
    store.proxy.faults += [Fault(kind="truncate"), *([Fault(status=404)] * 3)]
    with pytest.raises(RemoteError):
        store.open(tmp_path.name, cache, input_max_workers=1)
    (part,) = (cache / "partial").iterdir()
    assert data[0].startswith(part.read_bytes())
    store.proxy.reset()
    assert _contents(store.open(tmp_path.name, cache, input_max_workers=1)) == data
    begin = int(store.proxy.reads[0].begin.removeprefix("bytes=").rstrip("-"))
    assert 0 < begin <= len(data[0]) // 2


def test_a_damaged_part_is_fetched_anew(store, data, tmp_path):
    cache = tmp_path / "cache"
    store.proxy.faults += [Fault(kind="truncate"), Fault(status=404)]
    with pytest.raises(RemoteError):
        store.open(tmp_path.name, cache, input_max_workers=1)
    (part,) = (cache / "partial").iterdir()
    part.write_bytes(b"x" * len(data[0]))
    assert _contents(store.open(tmp_path.name, cache)) == data
    assert not list((cache / "partial").iterdir())


def test_a_full_disk_is_one_error(store, data, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Cache, "commit", full)
    with pytest.raises(RemoteError, match="No space left on device; make room"):
        store.open(tmp_path.name, tmp_path / "cache")
