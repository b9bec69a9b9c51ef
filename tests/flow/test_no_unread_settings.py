"""No setting of learn-model is accepted, shown, and then forgotten.

Runs are made in several modes while every read of a setting is watched. What only
checks, shows or records settings does not count: each setting has to be read by the
code that acts on it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from bigquery_tables import hcpe_table
from maou.checks import changed_settings, warnings_for
from maou.cli.main import run
from maou.config import RUN_SETTINGS, RunConfig
from maou.config_file import write_config
from maou.model.config import ModelConfig
from maou.settings import as_plain, settings_of
from maou.sources.bigquery_schema import HCPE_COLUMNS

TALKERS = ("maou.checks", "maou.plan", "maou.config_file", "maou.settings", "maou.cli.")
"""Modules that read settings without acting on them."""

Reads = set[tuple[str, str]]


def _acts(frame: FrameType | None) -> bool:
    """Tell whether code that acts on settings is what reads one in this frame.

    A property or method of the settings counts as the code that asks it; their own
    checks do not count, nor do copies.
    """
    inside = True
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "dataclasses" or module.startswith(TALKERS):
            return False
        if module in {"maou.run", "maou.prepared"}:
            return True
        own = module.startswith("maou.") and module.endswith("config")
        if inside and own and frame.f_code.co_name in {"check", "__init__"}:
            return False
        inside = inside and own
        frame = frame.f_back
    return False


@contextmanager
def _watched() -> Iterator[Reads]:
    """Note which settings are read by what acts on them, as (class, field)."""
    reads: Reads = set()
    with pytest.MonkeyPatch.context() as patch:
        for cls in RUN_SETTINGS.values():
            names = frozenset(bound.name for bound in settings_of(cls))

            def read(self, name, cls=cls, names=names):
                asked = name in names and (cls.__name__, name) not in reads
                if asked and _acts(sys._getframe(1)):
                    reads.add((cls.__name__, name))
                return object.__getattribute__(self, name)

            patch.setattr(cls, "__getattribute__", read)
        yield reads


TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "4")
VIT = ("--model-architecture", "vit", "--vit-embed-dim", "8", "--vit-num-layers", "1")
MIXER = ("--model-architecture", "mlp-mixer", "--mixer-embed-dim", "8")
HCPE = ("--input-path", "{root}/hcpe", "--epoch", "1", "--batch-size", "100")
SOFT = ("--input-format", "preprocess", "--input-path", "{root}/soft", "--epoch", "1")
CLOUD = ("--input-s3", "--input-bucket-name", "positions", "--input-prefix", "sets")
CLOUD += ("--input-data-name", "hcpe", "--input-local-cache-dir", "{root}/cache")
CLOUD += ("--input-enable-bundling",)
TABLE = ("--input-dataset-id", "shogi", "--input-table-name", "unread")
TABLE += ("--input-local-cache-dir", "{root}/cache", "--input-clustering-key", "id")
UPLOADS = ("--output-s3", "--s3-bucket-name", "positions", "--s3-base-path", "runs")
STAGES = ("--stage1-data-path", "{root}/stage1", "--stage1-max-epochs", "1")
STAGES += ("--stage2-data-path", "{root}/stage2", "--stage2-max-epochs", "1")
STAGES += ("--stage3-data-path", "{root}/soft", "--input-file-packed", "--epoch", "1")
STAGES += ("--stage1-threshold", "0.01", "--stage2-threshold", "1e-12")
MODES: dict[str, tuple[str, ...]] = {
    "real games, stopping early": (
        *(*TINY, *HCPE, "--epoch", "2", "--early-stopping-patience", "1"),
        *("--tensorboard-histogram-frequency", "1", *UPLOADS),
    ),
    "map-style with workers": (
        *(*TINY, *SOFT, "--input-file-packed", "--no-streaming"),
        *("--dataloader-workers", "1", "--optimizer", "sgd", "--dry-run"),
    ),
    "vit": (*VIT, *HCPE, "--gpu", "cpu", "--dry-run"),
    "mlp-mixer": (*MIXER, *HCPE, "--gpu", "cpu", "--dry-run"),
    "stages": ("--stage", "all", *TINY, *STAGES, "--dry-run"),
    "a cloud source": ("--dry-run", *TINY, *CLOUD),
    "a table": ("--dry-run", *TINY, *TABLE),
    "stage 1": (
        *("--stage", "1", *TINY, *STAGES, "--output-gcs", "--gcs-bucket-name", "b"),
        *("--gcs-base-path", "runs", "--upload-timeout", "0"),
    ),
}


def _make_data(root: Path, rows) -> None:
    (root / "hcpe").mkdir()
    for number in range(3):
        part = rows[120 * number : 120 * (number + 1)]
        (root / "hcpe" / f"{number}.hcpe").write_bytes(part.tobytes())
    source = ("--input-path", f"{root}/hcpe")
    for words in (
        ("utility", "generate-stage1-data", "--output-dir", f"{root}/stage1"),
        (
            *("utility", "generate-stage2-data", "--workers", "0", *source),
            *("--output-dir", f"{root}/stage2"),
        ),
        ("pre-process", "--workers", "1", *source, "--output-dir", f"{root}/soft"),
    ):
        assert run(list(words)) == 0


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_every_setting_is_read_by_what_acts_on_it(
    tmp_path, selfplay_rows, capfd, store, bigquery, monkeypatch
):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    _make_data(tmp_path, selfplay_rows)
    bigquery.create("unread", HCPE_COLUMNS[:6], clustering_fields=["id"])
    bigquery.append("unread", hcpe_table(selfplay_rows[:200]))
    store.upload(tmp_path / "hcpe", "hcpe")
    places = ("--model-dir", f"{tmp_path}/models", "--log-dir", f"{tmp_path}/logs")
    with _watched() as reads:
        for mode, arguments in MODES.items():
            given = [text.format(root=tmp_path) for text in arguments]
            code = run(["learn-model", *given, *places])
            assert code == 0, f"{mode}: {capfd.readouterr().err}"
    declared = {
        (cls.__name__, bound.name)
        for cls in RUN_SETTINGS.values()
        for bound in settings_of(cls)
    }
    assert declared - reads == set()


def test_showing_and_recording_do_not_count_as_reading():
    with _watched() as reads:
        config = RunConfig(model=ModelConfig(resnet_blocks=1))
        changed_settings(config)
        warnings_for(config, streaming=True, on_cuda=False)
        write_config(config)
        as_plain(config)
    assert reads == set()
