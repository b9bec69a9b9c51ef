"""The folder of an arriving data set: shared, taken over, never believed blindly."""

import gc
import os
import shutil

import pytest

from maou.data.loader import patient
from maou.errors import RemoteError, WrongBytesError
from maou.records import arriving
from maou.records.arriving import ARRIVED, PIECE
from maou.sources.area import CannotShareError, SharedArea, checksum_of
from maou.sources.cache import Cache
from maou.sources.fetching import _write_at

NAMES, SIZES = ["a.hcpe", "b.hcpe"], [2 * PIECE + 38, PIECE]
DATA = bytes(range(256)) * (PIECE // 256)


def _open(folder) -> SharedArea:
    return SharedArea(Cache(folder), NAMES, SIZES)


def _write(shared: SharedArea, name: str, piece: int, data: bytes) -> None:
    with (shared.folder / name).open("r+b") as stream:
        stream.seek(PIECE * piece)
        stream.write(data)
    number = shared.area.numbers[name]
    shared.area.sums[shared.area.firsts[number] + piece] = checksum_of(data)


def _sums(shared: SharedArea) -> list[bool]:
    return [bool(value) for value in shared.area.sums]


def test_files_have_their_size_and_nothing_in_them(tmp_path):
    shared = _open(tmp_path)
    assert shared.owned
    assert [(shared.folder / name).stat().st_size for name in NAMES] == SIZES
    assert shared.area.missing_bytes() == sum(SIZES)
    _write(shared, "a.hcpe", 2, DATA[:38])
    assert shared.area.missing_bytes() == 3 * PIECE
    arriving.wait_for(shared.folder / "a.hcpe", 2 * PIECE + 30, 8)
    assert shared.area.used.tolist() == [0, 0, 1, 0]


def test_one_run_owns_and_the_next_takes_over(tmp_path):
    first, second = _open(tmp_path), _open(tmp_path)
    assert (first.owned, second.owned) == (True, False)
    _write(first, "a.hcpe", 1, DATA)
    assert _sums(second) == [False, True, False, False], "both see the same"
    first.close()
    assert second.own()
    assert _sums(second) == [False, True, False, False]


def test_pieces_are_kept_for_the_next_start(tmp_path):
    first = _open(tmp_path)
    _write(first, "a.hcpe", 1, DATA)
    _write(first, "b.hcpe", 0, DATA)
    first.close()
    again = _open(tmp_path)
    # Of a file that is all there one piece is fetched again, for its checksum.
    assert _sums(again) == [False, True, False, False]
    (again.folder / "a.hcpe").unlink()
    again.close()
    assert _sums(_open(tmp_path)) == [False] * 4, "a file that is gone holds nothing"


def test_after_a_restart_of_the_machine_only_right_pieces_count(tmp_path):
    shared = _open(tmp_path)
    _write(shared, "a.hcpe", 0, DATA)
    _write(shared, "a.hcpe", 1, DATA)
    with (shared.folder / "a.hcpe").open("r+b") as stream:
        stream.write(b"lost")  # noted, but the bytes did not reach the disk
    (shared.folder / "boot").write_text("another")
    with pytest.raises(CannotShareError):
        _open(tmp_path)  # as if the owner were on another machine
    shared.close()
    assert _sums(_open(tmp_path)) == [False, True, False, False]


def test_without_hard_links_nothing_is_shared(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    with pytest.raises(CannotShareError):
        _open(tmp_path)


def test_the_folder_goes_when_all_are_entries_or_nobody_needs_it(tmp_path):
    cache = Cache(tmp_path)
    shared = _open(tmp_path)
    for name in NAMES:
        cache.link(name, shared.folder / name, {"object": "s3://b/k"})
    assert all(cache.has(name, size) for name, size in zip(NAMES, SIZES, strict=True))
    assert (shared.folder / "a.hcpe").exists(), "it keeps its name while it is read"
    folder = shared.folder
    del shared
    gc.collect()
    assert not folder.exists()
    left = SharedArea(cache, ["c.hcpe"], [PIECE])
    kept = cache.reserve({"c.hcpe": PIECE})
    left.close()
    cache.reserve({"d.hcpe": 1}).release()
    assert left.folder.exists(), "a live run needs it"
    kept.release()
    cache.reserve({"d.hcpe": 1}).release()
    assert not left.folder.exists()


def test_bytes_that_still_come_are_no_stall(tmp_path):
    shared, late = _open(tmp_path), iter((PIECE, 38, 0))

    class Batches:
        def __next__(self) -> str:
            if (come := next(late, None)) is None:
                return "a batch"
            shared.area.state[ARRIVED] += come
            raise RuntimeError("DataLoader timed out after 1 seconds")

    batches = patient(Batches())
    with pytest.raises(RuntimeError, match="timed out"):
        next(batches)  # the third time nothing has come
    assert next(late, None) is None
    assert next(patient(Batches())) == "a batch"


def test_a_failure_is_written_into_room_that_is_there(tmp_path):
    shared = _open(tmp_path)
    path = arriving.failure_path(shared.folder)
    before = path.stat()
    shared.area.refuse_if_hopeless()
    shared.area.note_failure(WrongBytesError("s3://b/k: 日" + "x" * 9999))
    with pytest.raises(WrongBytesError, match="日xx"):
        shared.area.refuse_if_hopeless()
    other = arriving.Area(shared.folder)  # as another process has it
    with pytest.raises(WrongBytesError, match="日xx"):
        other.refuse_if_hopeless()
    after = path.stat()
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)
    assert after.st_blocks == before.st_blocks > 0
    shared.close()
    assert not path.exists()


def test_a_failure_that_cannot_be_written_is_known_here(tmp_path, monkeypatch):
    shared = _open(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        shared.area.note_failure(RemoteError("full"))
    with pytest.raises(RemoteError, match="full"):
        shared.area.refuse_if_hopeless()


def test_whoever_waits_hears_of_a_cache_that_was_removed(tmp_path):
    cache = tmp_path / "cache"
    shared = _open(cache)
    shutil.rmtree(cache)
    with pytest.raises(RemoteError, match=r"cache-dir .*/cache: files that this run"):
        arriving.wait_for(shared.folder / "a.hcpe", 0, 1)


def test_what_is_mapped_has_its_disk_space(tmp_path):
    many = 1 << 16
    shared = SharedArea(Cache(tmp_path), ["a.hcpe"], [many * PIECE])
    for name in (arriving.SUMS, arriving.USED, arriving.WANTED, arriving.STATE):
        found = (shared.folder / name).stat()
        assert found.st_blocks * 512 >= found.st_size, name


def test_a_part_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where the disk is nearly full, one call writes some of it."""
    write, path = os.pwrite, tmp_path / "file"
    path.touch()
    monkeypatch.setattr(os, "pwrite", lambda to, data, at: write(to, data[:5], at))
    with path.open("r+b") as stream:
        _write_at(stream.fileno(), b"twelve bytes", 3)
    assert path.read_bytes() == b"\0\0\0twelve bytes"
