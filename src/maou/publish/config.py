"""Where results are mirrored to."""

from dataclasses import dataclass

from maou.errors import ConfigError
from maou.settings import Settings, setting
from maou.sources.config import GCS, S3

GROUP = "Output to a cloud store"


@dataclass(frozen=True)
class PublishConfig(Settings):
    """The store that a command mirrors its results to, beside writing them here."""

    output_gcs: bool = setting(
        False,
        "Mirror the results to Google Cloud Storage as well, in the background (extra "
        "gcp). Needs --gcs-bucket-name and --gcs-base-path.",
        GROUP,
    )
    output_s3: bool = setting(
        False,
        "Mirror the results to AWS S3, or what speaks its protocol, as well (extra "
        "aws). Needs --s3-bucket-name and --s3-base-path.",
        GROUP,
    )
    gcs_bucket_name: str | None = setting(
        None, "The bucket of --output-gcs.", GROUP, metavar="NAME"
    )
    gcs_base_path: str | None = setting(
        None,
        "Where in the bucket of --output-gcs; an empty text is its root.",
        GROUP,
        metavar="PREFIX",
    )
    s3_bucket_name: str | None = setting(
        None, "The bucket of --output-s3.", GROUP, metavar="NAME"
    )
    s3_base_path: str | None = setting(
        None,
        "Where in the bucket of --output-s3; an empty text is its root.",
        GROUP,
        metavar="PREFIX",
    )
    upload_timeout: float = setting(
        600.0,
        "Seconds to wait at the end for what is not uploaded yet.",
        GROUP,
        minimum=0,
    )

    def check(self) -> None:
        """Check that there is at most one store, and that its place is known.

        Raises:
            ConfigError: two stores, or a partner is missing; flags are named.
        """
        if self.output_gcs and self.output_s3:
            raise ConfigError(
                "--output-gcs and --output-s3 both name a store to write to; give one "
                "of them"
            )
        missing = self._missing_partners()
        if missing:
            raise ConfigError(
                f"--output-{self.provider} also needs {' and '.join(missing)}"
            )

    def _missing_partners(self) -> list[str]:
        # Of the path an empty text means something, of the bucket it does not.
        missing = {
            "bucket-name": not self.bucket_name,
            "base-path": self.base_path is None,
        }
        return [
            f"--{self.provider}-{name}"
            for name, is_missing in missing.items()
            if is_missing and self.provider
        ]

    @property
    def provider(self) -> str | None:
        """The store to write to: `gcs`, `s3` or None."""
        if self.output_gcs:
            return GCS
        return S3 if self.output_s3 else None

    @property
    def bucket_name(self) -> str | None:
        """The bucket of that store."""
        return self.gcs_bucket_name if self.output_gcs else self.s3_bucket_name

    @property
    def base_path(self) -> str | None:
        """The place in it, without slashes around."""
        path = self.gcs_base_path if self.output_gcs else self.s3_base_path
        return None if path is None else path.strip("/")

    def idle(self) -> dict[str, tuple[bool, str]]:
        """Tell for each flag whether it has no effect, and why."""
        partners = {
            f"--{store}-{name}": (
                self.provider != store,
                f"there is no --output-{store}",
            )
            for store in (GCS, S3)
            for name in ("bucket-name", "base-path")
        }
        without = "there is no store to write to (--output-gcs or --output-s3)"
        return {**partners, "--upload-timeout": (self.provider is None, without)}
