"""Games as text, run.toml, and what an earlier run says that it left."""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rsshogi.record import Record

from fuzz.engine import Target
from fuzz.mutations import json_changed, lines_changed
from fuzz.shard_targets import DATA, rows_of
from maou.cli.options import build_run
from maou.config_file import read_config, write_config
from maou.convert.config import HcpeConvertConfig
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.hcpe import convert_games
from maou.convert.inputs import Piece
from maou.convert.preprocess import pre_process
from maou.convert.preprocess_state import STATE_FILE
from maou.convert.progress import PROGRESS_FILE
from maou.convert.rows import Filters
from maou.convert.tasks import convert_task
from maou.shogi.samples import decode_samples

_KI2 = """開始日時：2020/01/02 10:00
手合割：平手
先手：甲
後手：乙
▲７六歩 △３四歩 ▲２二角成 △同　銀 ▲４五角 △５二金右
▲３四角 △８八角 ▲７八金 △９九角成
まで10手で後手の勝ち
"""


def _csa(name: str) -> bytes:
    data = (DATA / "games" / name).read_bytes()
    return data.split(b"\n/\n")[0] + b"\n"


@functools.cache
def _csa_seeds() -> tuple[bytes, ...]:
    one = _csa("WCSC28_L1_KAK_CRZ.csa")
    two = _csa("selfplay.csa")
    return one, two, two + b"/\n" + two


@functools.cache
def _kif_seeds() -> tuple[bytes, ...]:
    record = Record.from_csa_str(_csa("WCSC28_L2_HIM_NRK.csa").decode())
    text = record.to_kif()
    varied = text + "\n変化：5手\n   5 ６八銀(79)   ( 0:00/00:00:00)\n"
    return text.encode(), text.encode("cp932", "replace"), varied.encode()


def _read_games(kind: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        (folder / f"games.{kind}").write_bytes(data)
        piece = Piece(0, f"games.{kind}", kind, 0, len(data), True)
        filters = Filters.of(HcpeConvertConfig(input_path=folder, output_dir=folder))
        made = convert_task(folder, [piece], filters)
        assert sum(one.rows for one in made.outcomes) == len(made.rows)
        assert all(len(one.reason) <= 300 for one in made.outcomes)
        rows = made.rows.view(np.uint8).reshape(-1, 38)
        assert not decode_samples(rows).status_B.any()

    return read


def _toml_seeds() -> Sequence[bytes]:
    values = {"model_architecture": "vit", "input_path": Path("games"), "seed": 3}
    return (write_config(build_run({**values, "batch_size": 10})).encode(), _TOML)


_TOML = b"""[model]
model-architecture = "resnet"
resnet-blocks = 3
[optim]
learning-ratio = 0.02
optimizer-beta1 = 0.9
[loss]
gce-parameter = 0.5
[logs]
tensorboard-histogram-module = ["a", "b"]
"""


def _read_toml(data: bytes, folder: Path) -> None:
    path = folder / "run.toml"
    path.write_bytes(data)
    values = read_config(path)
    text = write_config(build_run(values))
    path.write_text(text)
    assert {**read_config(path), **values} == read_config(path)


# What hcpe-convert and pre-process left.

_GAME = b"V2.2\nPI\n+\n+7776FU\n-3334FU\n%TORYO\n"


def _convert(folder: Path) -> None:
    config = HcpeConvertConfig(
        input_path=folder / "in" / "a.csa", output_dir=folder / "out", workers=0
    )
    convert_games(config)


def _pre_process(folder: Path) -> None:
    config = PreProcessConfig(
        input_path=folder / "in" / "a.hcpe", output_dir=folder / "out", workers=1
    )
    pre_process(config)


def _finished(work: Callable[[Path], None]) -> Callable[[], Path]:
    """Make a folder in which a command has done its work."""

    def made() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="maou-fuzz-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / "in").mkdir()
        (folder / "in" / "a.csa").write_bytes(_GAME)
        (folder / "in" / "a.hcpe").write_bytes(rows_of(24).tobytes())
        (folder / "secret").write_bytes(b"not to be touched")
        for path in (folder / "in").iterdir():
            os.utime(path, ns=(0, 0))
        work(folder)
        return folder

    return functools.cache(made)


_converted, _processed = _finished(_convert), _finished(_pre_process)


def _state_seeds(made: Callable[[], Path], name: str) -> Callable[[], tuple[bytes]]:
    return lambda: ((made() / "out" / name).read_bytes(),)


def _read_state(
    made: Callable[[], Path], name: str, work: Callable[[Path], None]
) -> Callable[[bytes, Path], None]:
    """Run a command again on what it left, with another state file."""

    def read(data: bytes, folder: Path) -> None:
        shutil.copytree(made(), folder, dirs_exist_ok=True)
        (folder / "out" / name).write_bytes(data)
        beside = {path.name for path in folder.parent.iterdir()}
        try:
            work(folder)
        finally:
            assert (folder / "secret").read_bytes() == b"not to be touched"
            assert {path.name for path in folder.iterdir()} == {"in", "out", "secret"}
            assert {path.name for path in folder.parent.iterdir()} == beside

    return read


GAMES = (
    Target("csa", _csa_seeds, _read_games("csa"), (lines_changed,)),
    Target("kif", _kif_seeds, _read_games("kif"), (lines_changed,)),
    Target("ki2", lambda: (_KI2.encode(),), _read_games("ki2"), (lines_changed,)),
)

SETTINGS = (
    Target("run.toml", _toml_seeds, _read_toml, (lines_changed,)),
    Target(
        "hcpe-convert.json",
        _state_seeds(_converted, PROGRESS_FILE),
        _read_state(_converted, PROGRESS_FILE, _convert),
        (json_changed,),
    ),
    Target(
        "pre-process.json",
        _state_seeds(_processed, STATE_FILE),
        _read_state(_processed, STATE_FILE, _pre_process),
        (json_changed,),
    ),
)
