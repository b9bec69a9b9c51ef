"""The table of BigQuery that a data command loads its records into."""

from dataclasses import dataclass

from maou.errors import ConfigError
from maou.settings import Settings, setting

GROUP = "Output to BigQuery"


@dataclass(frozen=True)
class TableOutputConfig(Settings):
    """A table, beside the shards in the output folder."""

    output_dataset_id: str | None = setting(
        None,
        "Load the records into a new table of BigQuery as well (extra gcp): its data "
        "set, as DATASET or PROJECT.DATASET. Needs --output-table-name.",
        GROUP,
        metavar="NAME",
    )
    output_table_name: str | None = setting(
        None,
        "The table in the data set; it must not have rows yet. Needs "
        "--output-dataset-id.",
        GROUP,
        metavar="NAME",
    )

    def check(self) -> None:
        """Check that both are given, or none.

        Raises:
            ConfigError: one is missing; the flag is named.
        """
        named = {
            "--output-dataset-id": self.output_dataset_id,
            "--output-table-name": self.output_table_name,
        }
        given = [flag for flag, value in named.items() if value is not None]
        missing = [flag for flag, value in named.items() if not value]
        if given and missing:
            raise ConfigError(f"{given[0]} also needs {missing[0]}")

    @property
    def is_given(self) -> bool:
        """Whether there is a table to load into."""
        return self.output_dataset_id is not None
