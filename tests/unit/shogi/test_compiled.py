"""Compiled kernels never outlive the sources that they are made of."""

from pathlib import Path

from maou.shogi.compiled import cache_folder, source_digest


def _package(root: Path) -> Path:
    (root / "shogi").mkdir()
    (root / "shogi" / "pieces.py").write_text("PAWN = 1\n")
    (root / "user.py").write_text("from maou.shogi.compiled import kernel\n")
    (root / "other.py").write_text("x = 1\n")
    return root


def test_the_digest_is_of_everything_that_kernels_hold(tmp_path):
    package = _package(tmp_path)
    first = source_digest(package)
    (package / "other.py").write_text("x = 2\n")
    assert source_digest(package) == first
    (package / "shogi" / "pieces.py").write_text("PAWN = 2\n")
    second = source_digest(package)
    assert second != first
    (package / "user.py").write_text("from maou.shogi.compiled import inlined\n")
    assert source_digest(package) not in (first, second)


def test_a_changed_source_gets_a_new_folder_and_the_old_one_goes(tmp_path):
    package = _package(tmp_path)
    first = cache_folder(package)
    assert first is not None
    assert cache_folder(package) == first
    (package / "user.py").write_text("# maou.shogi.compiled\n")
    second = cache_folder(package)
    assert second is not None
    assert second.is_dir()
    assert not first.exists()
