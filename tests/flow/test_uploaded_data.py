"""hcpe-convert and pre-process with --output-gcs and --output-s3, and back again."""

import json
import threading
from pathlib import Path

import pytest

from cloud_stores import BUCKET, QUICK
from fault_proxy import Fault
from maou.cli.main import run
from maou.publish import session
from maou.publish.shards import publishing_shards
from published_runs import Listener, flags, settings

GAMES = Path(__file__).parents[1] / "data" / "games" / "selfplay.csa"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(session, "RETRIES", QUICK)


def _convert(out: Path, *arguments: str) -> int:
    """Convert six games."""
    games = out.parent / "games.csa"
    if not games.exists():
        games.write_text("\n/\n".join(GAMES.read_text().split("\n/\n")[:6]))
    given = ("--input-path", str(games), "--output-dir", str(out), "--workers", "0")
    return run(["hcpe-convert", *given, "--shard-rows", "250", *arguments])


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".upload" not in path.parts
    }


def _mirrored(store, base: str) -> dict[str, bytes]:
    """Read a mirror, without the object that says whose it is."""
    objects = store.objects(f"{base}/")
    found = {key.removeprefix(f"{base}/"): data for key, data in objects.items()}
    assert json.loads(found.pop("upload.json"))["version"] == 1
    return found


def _input(store, base: str, cache: Path) -> tuple[str, ...]:
    prefix, _, name = base.rpartition("/")
    return (
        *(f"--input-{store.provider}", "--input-bucket-name", BUCKET),
        *("--input-prefix", prefix, "--input-data-name", name),
        *("--input-local-cache-dir", str(cache)),
    )


def test_from_games_to_a_bucket_to_a_network(store, tmp_path, capfd):
    """Each command reads what the one before mirrored; the manifests come last."""
    hcpe, soft = f"{tmp_path.name}/sets/hcpe", f"{tmp_path.name}/sets/soft"
    order: list[set[str]] = []
    store.proxy.changed = lambda _: order.append(set(store.objects(tmp_path.name)))
    assert _convert(tmp_path / "hcpe", *flags(store, hcpe)) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[-1] == "pending      nothing"
    assert said[-2].startswith("uploaded     ")
    assert _mirrored(store, hcpe) == _files(tmp_path / "hcpe")
    last = next(keys for keys in order if f"{hcpe}/hcpe-convert.json" in keys)
    assert last == set(store.objects(hcpe))
    cache = tmp_path / "cache"
    code = run(
        [
            *("pre-process", *_input(store, hcpe, cache), "--shard-rows", "100"),
            *("--output-dir", str(tmp_path / "soft"), *flags(store, soft)),
        ]
    )
    assert code == 0
    assert _mirrored(store, soft) == _files(tmp_path / "soft")
    assert len([key for key in _mirrored(store, soft) if key.startswith("train/")]) > 1
    weights = []
    sources = {"there": _input(store, soft, cache)}
    if store.provider == "s3":  # once is enough
        sources["here"] = ("--input-path", str(tmp_path / "soft"))
    for name, source in sources.items():
        code = run(
            [
                *("learn-model", "--input-format", "preprocess", *source),
                *("--input-file-packed", "--gpu", "cpu", "--resnet-blocks", "1"),
                *("--resnet-channels", "8", "--epoch", "1", "--no-export-onnx"),
                *(
                    "--model-dir",
                    str(tmp_path / name),
                    "--log-dir",
                    str(tmp_path / "l"),
                ),
            ]
        )
        assert code == 0
        (path,) = (tmp_path / name).glob("*/last/model.safetensors")
        weights.append(path.read_bytes())
    assert len(set(weights)) == 1
    for key, data in store.objects(tmp_path.name).items():
        assert str(tmp_path).encode() not in data, key


def test_shards_come_while_the_command_goes_on(store, tmp_path, monkeypatch):
    """The first shard is there before the last is made; what fails comes later."""
    from maou.convert import hcpe

    there, write = threading.Event(), hcpe.write_shard

    def changed(path: str) -> None:
        if any("hcpe-00000" in key for key in store.objects(tmp_path.name)):
            there.set()

    def wait_and_write(shard):
        if shard.path.name.startswith("hcpe-00002"):
            assert there.wait(30)
        return write(shard)

    monkeypatch.setattr(hcpe, "write_shard", wait_and_write)
    store.proxy.changed = changed
    store.proxy.on_write += [Fault(), Fault(status=503), Fault(kind="lost")]
    base = f"{tmp_path.name}/set"
    assert _convert(tmp_path / "out", *flags(store, base)) == 0
    assert _mirrored(store, base) == _files(tmp_path / "out")


def test_what_is_pending_comes_with_the_same_command(store, tmp_path, capfd):
    base = f"{tmp_path.name}/set"
    store.proxy.on_write += [Fault()] * 3
    store.proxy.always_write = Fault(status=403)
    assert _convert(tmp_path / "out", *flags(store, base)) == 0
    said = capfd.readouterr()
    assert "may not write here" in said.err
    assert "hcpe-convert.json" in said.out[said.out.index("pending") :]
    assert said.out.rstrip().endswith("To upload the rest: run the same command again")
    before = _mirrored(store, base)
    assert len(before) == 2
    store.proxy.reset()
    assert _convert(tmp_path / "out", *flags(store, base)) == 0
    assert _mirrored(store, base) == _files(tmp_path / "out")
    new = len(_mirrored(store, base)) - len(before)
    assert len(store.proxy.writes) == new + 1, "the claim, which is there"


def test_two_data_sets_never_mix(store, tmp_path, capfd):
    base = f"{tmp_path.name}/set"
    assert _convert(tmp_path / "one", *flags(store, base)) == 0
    before = store.objects(base)
    store.put(f"{tmp_path.name}/foreign/a.hcpe", b"x")
    for place in (base, f"{tmp_path.name}/foreign"):
        assert _convert(tmp_path / place.replace("/", "-"), *flags(store, place)) == 0
        said = capfd.readouterr()
        assert "holds other objects" in said.err
        assert f"--{store.provider}-base-path" in said.out
        assert "uploaded     nothing\n" in said.out
        assert said.out.endswith("Nothing is lost here.\n"), "nor with the same again"
    assert store.objects(base) == before
    assert len(store.objects(f"{tmp_path.name}/foreign")) == 1


def _publish(store, folder: Path, files: dict[str, bytes]) -> Listener:
    """Make a data set of given shards anew, and mirror it; its list comes last."""
    for path in folder.glob("*.npy"):
        path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    listener, config = Listener(), settings(store.provider, folder.name)
    *names, last = files
    with publishing_shards(config, folder, (last,), listener) as uploads:
        uploads.complete(names)
    return listener


ONE = {"0.npy": b"aa", "1.npy": b"bb", "2.npy": b"cc", "list.json": b"1"}
TWO = {"0.npy": b"aa", "1.npy": b"BB", "list.json": b"2"}


def test_a_data_set_that_was_made_anew_takes_the_place_of_the_earlier(store, tmp_path):
    """What is listed is there and nothing else is, whenever somebody looks."""
    folder, wrong = tmp_path / tmp_path.name, []

    def changed(_: str) -> None:
        there = store.objects(tmp_path.name)
        there.pop(f"{tmp_path.name}/upload.json", None)
        files = {key.rpartition("/")[2]: data for key, data in there.items()}
        if "list.json" in files and files not in (ONE, TWO):
            wrong.append(files)

    store.proxy.changed = changed
    for files in (ONE, TWO, ONE):
        assert _publish(store, folder, files).results[-1] == "pending      nothing"
        assert _mirrored(store, tmp_path.name) == files
    assert wrong == []
    store.proxy.requests.clear()
    _publish(store, folder, ONE)
    assert len(store.proxy.writes) == 1, "the claim, which is there"


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_of_another_machine_nothing_is_replaced(store, tmp_path):
    """A fetched copy has the place's name, but did not upload what is there."""
    name = tmp_path.name
    _publish(store, tmp_path / "here" / name, ONE)
    before = store.objects(name)
    fetched = tmp_path / "there" / name
    fetched.mkdir(parents=True)
    (fetched / "upload.json").write_bytes(before[f"{name}/upload.json"])
    told = _publish(store, fetched, TWO)
    assert "list.json: is of another data set" in told.warnings[0]
    assert store.objects(name) == before
    told = _publish(store, fetched, ONE)
    assert told.results[-1] == "pending      nothing"
    assert store.objects(name) == before


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_what_somebody_else_put_there_is_not_removed(store, tmp_path):
    """Shards that would be read with ours are in the way; other files are not."""
    name = tmp_path.name
    folder = tmp_path / name
    _publish(store, folder, ONE)
    store.put(f"{name}/README", b"x")
    told = _publish(store, folder, TWO)
    assert told.results[-1] == "pending      nothing"
    assert _mirrored(store, name) == {**TWO, "README": b"x"}
    store.put(f"{name}/9.npy", b"x")
    told = _publish(store, folder, ONE)
    assert "9.npy: is of another data set" in told.warnings[0]
    there = _mirrored(store, name)
    assert there["9.npy"] == b"x"
    assert "list.json" not in there


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_what_is_refused_at_once_says_nothing_of_uploads(store, tmp_path, capfd):
    assert _convert(tmp_path / "out") == 0
    capfd.readouterr()
    again = ("--output-format", "npy", *flags(store, tmp_path.name))
    assert _convert(tmp_path / "out", *again) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert "upload" not in said.err


def test_flags_that_do_not_go_together(tmp_path, capfd):
    assert _convert(tmp_path, "--output-gcs") == 2
    assert "also needs --gcs-bucket-name and --gcs-base-path" in capfd.readouterr().err
    assert _convert(tmp_path / "out", "--s3-base-path", "x") == 0
    assert "--s3-base-path has no effect" in capfd.readouterr().err
