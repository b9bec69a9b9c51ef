"""Loading what a data command made into a table of BigQuery."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maou.cli.console import Progressing, say
from maou.cli.options import build
from maou.sources.config_table import TableOutputConfig


class TableLoading:
    """The table that the flags name, or none."""

    def __init__(self, values: dict[str, Any], folder: Path, kind: str) -> None:
        """Check the flags; no request is sent.

        Args:
            values: the parsed options.
            folder: the output folder.
            kind: what the shards are: `hcpe`, `packed` or `dense`.

        Raises:
            ConfigError: a flag is missing or wrong, or the extra is not installed.
            RemoteError: there are no credentials, or no project.
        """
        config = build(TableOutputConfig, values)
        self._output: Any = None
        if config.is_given:
            from maou.convert.table_output import TableOutput

            self._output = TableOutput(config, folder, kind)

    @property
    def is_wanted(self) -> bool:
        """Whether there is a table to load into."""
        return self._output is not None

    def require_room(self) -> None:
        """Check that the table can be made, before there are records.

        Raises:
            ConfigError: it has rows of something else.
            RemoteError: there is no such data set, or BigQuery cannot be reached.
        """
        if self._output is not None:
            self._output.require_room()

    def load(self, parts: Sequence[tuple[str, int, str]], state_file: str) -> None:
        """Load the finished shards, with progress on stderr; say where they are.

        Args:
            parts: name in the output folder, rows, and side of each.
            state_file: what the command recorded its finished work in.

        Raises:
            RemoteError: BigQuery cannot be reached, or refuses.
        """
        if self._output is None:
            return
        from maou.convert.table_output import Part

        with Progressing() as progress:
            loaded = self._output.load(
                [Part(*part) for part in parts],
                state_file,
                lambda share: progress.update(share, "loaded into BigQuery"),
            )
        how = "loaded into" if loaded.worked else "already in"
        say(f"{loaded.rows:,} rows {how} BigQuery {loaded.table}")
