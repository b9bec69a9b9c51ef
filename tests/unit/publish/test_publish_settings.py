"""Which output flags belong together, and what is said when one is missing."""

from pathlib import Path

import pytest

from maou.checkpoint.config import CheckpointConfig
from maou.config import RunConfig, names_only, with_names_only
from maou.errors import ConfigError
from maou.publish.config import PublishConfig
from maou.settings import as_plain
from maou.sources.config import SourceConfig


@pytest.mark.parametrize("provider", ["gcs", "s3"])
def test_a_store_has_a_bucket_and_a_path(provider):
    bucket, path = f"{provider}_bucket_name", f"{provider}_base_path"
    config = PublishConfig(**{f"output_{provider}": True, bucket: "b", path: "/a/b/"})
    assert (config.provider, config.bucket_name) == (provider, "b")
    assert config.base_path == "a/b"
    root = PublishConfig(**{f"output_{provider}": True, bucket: "b", path: ""})
    assert root.base_path == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"output_gcs": True, "output_s3": True}, "--output-gcs and --output-s3 both"),
        ({"output_s3": True, "s3_base_path": ""}, "also needs --s3-bucket-name$"),
        ({"output_gcs": True, "gcs_bucket_name": "b"}, "also needs --gcs-base-path$"),
        (
            {"output_gcs": True, "s3_bucket_name": "b", "s3_base_path": "p"},
            "also needs --gcs-bucket-name and --gcs-base-path$",
        ),
    ],
)
def test_what_does_not_go_together_is_named(given, says):
    with pytest.raises(ConfigError, match=says):
        PublishConfig(**given)


def test_paths_are_reduced_to_names():
    config = RunConfig(
        source=SourceConfig(input_path=Path("/home/somebody/games")),
        checkpoint=CheckpointConfig(model_dir=Path("deep/below/models")),
    )
    short = with_names_only(config)
    assert short.source.input_path == Path("games")
    assert short.checkpoint.model_dir == Path("models")
    assert names_only(as_plain(config)) == as_plain(short)
    assert names_only(names_only(as_plain(config))) == as_plain(short)
    assert config.source.input_path == Path("/home/somebody/games")
