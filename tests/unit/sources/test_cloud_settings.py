"""Which cloud flags belong together, and what is said when one is missing."""

import subprocess
import sys

import pytest

from maou.checking.config import CheckConfig
from maou.checks import check_sources
from maou.config import RunConfig
from maou.convert.config import HcpeConvertConfig
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.config_stages import Stage2DataConfig
from maou.errors import ConfigError
from maou.evaluation.config import EvaluateConfig
from maou.sources.choosing import warnings_for
from maou.sources.config import SourceConfig, StageSourceConfig
from maou.sources.gcs import GCSDataSource
from maou.sources.local import hcpe_kind
from maou.sources.opening import open_source
from maou.sources.s3 import S3DataSource

PARTNERS = {
    "input_bucket_name": "b",
    "input_prefix": "",
    "input_data_name": "d",
    "input_local_cache_dir": "cache",
}


def test_one_complete_source_is_fine():
    check_sources(RunConfig(SourceConfig(input_s3=True, **PARTNERS)))
    check_sources(RunConfig(SourceConfig(input_gcs=True, **PARTNERS)))


@pytest.mark.parametrize(
    ("source", "stage", "says"),
    [
        ({"input_path": "x", "input_s3": True}, {}, "--input-path and --input-s3 both"),
        ({"input_gcs": True, "input_s3": True}, {}, "--input-gcs and --input-s3 both"),
        (
            {"input_path": "x", "input_gcs": True, "input_s3": True},
            {},
            "--input-path and --input-gcs and --input-s3 all",
        ),
        (
            {"input_gcs": True},
            {"stage3_data_path": "x"},
            "--input-gcs and --stage3-data-path both",
        ),
    ],
)
def test_two_sources_are_listed(source, stage, says):
    config = RunConfig(
        SourceConfig(**source, **PARTNERS), stage_source=StageSourceConfig(**stage)
    )
    with pytest.raises(ConfigError, match=says):
        check_sources(config)


@pytest.mark.parametrize("name", PARTNERS)
def test_a_missing_partner_is_named(name):
    partners = {key: value for key, value in PARTNERS.items() if key != name}
    flag = "--" + name.replace("_", "-")
    with pytest.raises(ConfigError, match=f"--input-gcs also needs {flag}$"):
        check_sources(RunConfig(SourceConfig(input_gcs=True, **partners)))


READERS = {
    HcpeConvertConfig: {"output_dir": "out"},
    PreProcessConfig: {"output_dir": "out"},
    Stage2DataConfig: {"output_dir": "out"},
    CheckConfig: {},
    EvaluateConfig: {"model": "model"},
}


@pytest.mark.parametrize("cls", READERS)
def test_every_command_that_reads_has_the_same_rules(cls):
    def made(**settings):
        return cls(**settings, **READERS[cls])

    local = cls.local_flag
    assert made(input_path="x").place == "x"
    assert made(input_s3=True, **PARTNERS).place == "s3://b/d"
    says = rf"{local}: is required; .* --input-s3( or --input-dataset-id)?$"
    with pytest.raises(ConfigError, match=says):
        made()
    with pytest.raises(ConfigError, match=f"{local} and --input-gcs both name the in"):
        made(input_path="x", input_gcs=True, **PARTNERS)
    with pytest.raises(ConfigError, match="--input-gcs also needs --input-bucket-name"):
        made(input_gcs=True, **{**PARTNERS, "input_bucket_name": ""})
    idle = made(input_path="x", **PARTNERS, input_local_cache=False)
    assert [text.split(" has no effect: ")[0] for text in warnings_for(idle)] == [
        *("--input-bucket-name", "--input-prefix", "--input-data-name"),
        *("--input-local-cache-dir", "--no-input-local-cache"),
    ]
    idle = made(
        input_s3=True, **PARTNERS, input_local_cache=False, input_max_cached_bytes=9
    )
    assert warnings_for(idle) == [
        "--input-max-cached-bytes has no effect: --no-input-local-cache keeps nothing"
    ]


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [(S3DataSource, "boto3", "aws"), (GCSDataSource, "google.cloud", "gcp")],
)
def test_a_missing_extra_comes_with_the_install_line(
    source, module, extra, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as caught:
        source("bucket", 1)
    assert f"pip install 'maou[{extra}]' or poetry install -E {extra}" in str(
        caught.value
    )


TABLE = {"input_dataset_id": "d", "input_table_name": "t"}


def test_a_table_is_a_source_like_the_others():
    check_sources(RunConfig(SourceConfig(**TABLE)))
    assert SourceConfig(**TABLE).place == "BigQuery d.t"
    for name, other in (("dataset-id", "table-name"), ("table-name", "dataset-id")):
        one = SourceConfig(**{"input_" + name.replace("-", "_"): "x"})
        says = f"--input-{name} also needs --input-{other}$"
        with pytest.raises(ConfigError, match=says):
            check_sources(RunConfig(one))
    with pytest.raises(ConfigError, match="--input-s3 and --input-dataset-id both"):
        check_sources(RunConfig(SourceConfig(input_s3=True, **PARTNERS, **TABLE)))
    pages = {"input_clustering_key": "a", "input_partitioning_key_date": "b"}
    with pytest.raises(ConfigError, match="both say how to page the table"):
        check_sources(RunConfig(SourceConfig(**TABLE, **pages)))


def test_what_does_nothing_for_a_table_is_said():
    idle = {
        "input_prefix": "x",
        "input_enable_bundling": True,
        "input_local_cache": False,
        "input_max_cached_bytes": 5,
    }
    said = warnings_for(SourceConfig(**TABLE, **idle, input_batch_size=5))
    flags = [line.split(" has no effect")[0] for line in said]
    assert sorted(flags) == [
        *("--input-enable-bundling", "--input-max-cached-bytes", "--input-prefix"),
        "--no-input-local-cache",
    ]
    kept = {"input_local_cache_dir": "x", "input_max_cached_bytes": 5}
    assert warnings_for(SourceConfig(**TABLE, **kept, input_max_workers=2)) == []


def test_a_missing_extra_of_a_table_comes_with_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(ConfigError) as caught:
        open_source(SourceConfig(**TABLE), hcpe_kind())
    assert str(caught.value) == (
        "--input-dataset-id: needs the extra gcp; install it with pip install "
        "'maou[gcp]' or poetry install -E gcp"
    )


def test_reading_data_imports_no_sdk_before_it_is_asked_for():
    code = (
        "import sys, maou.data.pipeline, maou.publish.training; "
        "print([m for m in ('boto3', 'botocore', 'google', 'grpc') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
