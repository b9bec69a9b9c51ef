"""Which cloud flags belong together, and what is said when one is missing."""

import subprocess
import sys

import pytest

from maou.checks import check_sources
from maou.config import RunConfig
from maou.errors import ConfigError
from maou.sources.config import SourceConfig, StageSourceConfig
from maou.sources.gcs import GCSDataSource
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


def test_reading_data_imports_no_sdk_before_it_is_asked_for():
    code = (
        "import sys, maou.data.pipeline; "
        "print([m for m in ('boto3', 'botocore', 'google.cloud.storage') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
