"""The phases of `maou pre-process` on a table of BigQuery: `--engine bigquery`.

BigQuery splits the rows by game and adds equal (side, position, move) up; what comes
back are sums, which are spilled as sorted runs. From there on the work is that of the
threads' engine: ranges are merged, without the positions to leave out, and shards are
cut, the same bytes as from the rows themselves.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.engine_threads import ThreadsEngine
from maou.convert.memory import resident_bytes
from maou.convert.preprocess_input import Input
from maou.convert.preprocess_state import Report, State, save_json
from maou.convert.spill import TOO_MANY, WORDS, Entries, combined, ids_of, write_run
from maou.errors import DataError
from maou.records.preprocess import MAX_COUNT
from maou.records.split import ONE_GAME, moved_threshold, split_key, threshold_of
from maou.shogi.hcp import decode_hcp
from maou.shogi.labels import N_LABELS
from maou.sources.bigquery_adding import SUMS, BigQueryAddingUp
from maou.sources.bigquery_loading import fixed_bytes
from maou.sources.bigquery_pages import table_name

_RUN_BYTES = 300  # of each sum of a run, while it is made
_FEWEST_SUMS, _MOST_SUMS = 65_536, 1_000_000  # of a run
_PAGE_ROWS = 100_000
_ANSWER_SECONDS = 86_400  # how long a job's answer is taken to be there


class TableInput(Input):
    """A table whose rows stay where they are, and shards to leave out.

    Attributes:
        table: asks for what is in it.
    """

    def __init__(
        self, config: PreProcessConfig, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """Ask what the table is.

        Args:
            config: names the table, and what to leave out.
            note: called with lines about the progress.

        Raises:
            ConfigError: the extra is not installed, or a name is none.
            DataError: the table cannot be added up by SQL, or has no rows.
            RemoteError: BigQuery cannot be reached, or refuses.
        """
        name = table_name(config.input_dataset_id or "", config.input_table_name or "")
        self.note = note
        self.table = BigQueryAddingUp(name, config.input_max_workers)
        self.found = self.table.describe()
        self.table.require_columns(self.found)
        if self.found.is_settled and not self.found.rows:
            raise DataError(f"{self.table.where}: has no rows")
        self.shards = ()
        self.excluded, excluded_digest = self.opened_excluded(config)
        self.digests = {
            "--input-dataset-id": f"{self.found.path} {self.found.version}",
            "--exclude": excluded_digest,
        }

    @property
    def rows(self) -> int:
        """Number of rows to aggregate."""
        return self.found.rows

    def naming(self) -> contextlib.AbstractContextManager[None]:
        """Messages name the table as it is."""
        return contextlib.nullcontext()


class BigQueryEngine(ThreadsEngine):
    """One run: its sums from BigQuery, the rest in threads."""

    source: TableInput

    def __init__(
        self,
        config: PreProcessConfig,
        source: TableInput,
        state: State,
        tell: Callable[[Report], None],
    ) -> None:
        super().__init__(config, source, state, tell)
        self._plan_path = self.spilled / "bigquery.json"
        self._key = split_key(config.seed)

    def begin(self) -> None:
        """Go back where what a job left is no longer there."""
        plan = self._plan()
        if self.state.phase == "merge" and "runs" not in plan:
            self.state.phase = "spill"
        old = time.time() - plan.get("asked", 0) > _ANSWER_SECONDS
        if self.state.phase == "spill" and old:
            self.state.phase = "split"

    def runs(self) -> list[tuple[Path, bool]]:
        """List the runs: of the sums, and of what is left out."""
        count = self._plan().get("runs", 0)
        return [
            *((self._sums_path(number), False) for number in range(count)),
            *super().runs(),
        ]

    def _plan(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._plan_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def _sums_path(self, number: int) -> Path:
        return self.spilled / f"run-sums-{number:06d}"

    def _split(self) -> None:
        """Have BigQuery count the sides; move the threshold where one is empty."""
        table, found = self.source.table, self.source.found
        threshold = threshold_of(self.config.test_ratio)
        sides = table.sides(found, self._key, threshold)
        if sides.low == sides.high:
            raise DataError(f"{table.where}: {ONE_GAME}")
        nearest = moved_threshold(sides.low, sides.high, threshold)
        if nearest != threshold:
            sides = table.sides(found, self._key, nearest)
        self.state.rows = [sides.rows - sides.held, sides.held]
        self.state.unit, self.state.warning = "game", ""
        name = f"maou-{secrets.token_hex(8)}"
        save_json(
            self._plan_path,
            {"name": name, "threshold": str(nearest), "asked": int(time.time())},
        )

    def _spill(self) -> None:
        """Have BigQuery add up, and keep the sums as sorted runs."""
        super()._spill()  # what is left out
        for old in self.spilled.glob("run-sums-*"):
            old.unlink()
        plan, table = self._plan(), self.source.table
        left = self.config.memory_bytes - resident_bytes()
        most = max(_FEWEST_SUMS, min(_MOST_SUMS, left // _RUN_BYTES))
        batches = table.sums(
            self.source.found,
            self._key,
            int(plan["threshold"]),
            plan["name"],
            min(self.config.input_batch_size, _PAGE_ROWS),
        )
        rows = [0, 0]
        count = 0
        for sides in _gathered(table.where, batches, most):
            for side, entries in enumerate(sides):
                rows[side] += int((entries[:, 5] >> np.uint64(32)).sum())
            ready = [combined(entries, ids_of(entries)) for entries in sides]
            write_run(self._sums_path(count), ready, self.cell_bits)
            count += 1
            self.fraction = self.share_done(sum(rows) / max(1, sum(self.state.rows)))
            self.tell(self.report())
        if rows != self.state.rows:
            raise DataError(
                f"{table.where}: {sum(rows):,} rows were added up, not "
                f"{sum(self.state.rows):,}: the table is written to; run again with "
                "another --output-dir when nobody writes there"
            )
        save_json(self._plan_path, {**plan, "runs": count})
        table.forget(plan["name"])
        self.source.note(f"{table.where}: {table.remark}")


def _gathered(where: str, batches: Iterator[Any], most: int) -> Iterator[list[Entries]]:
    """Join record batches of sums to about so many entries, by side.

    Raises:
        DataError: what comes are not sums of positions.
    """
    parts: list[list[Entries]] = [[], []]
    count = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _FEWEST_SUMS):
            piece = batch.slice(start, _FEWEST_SUMS)
            for side, entries in zip(parts, _entered(where, piece), strict=True):
                side.append(entries)
            count += piece.num_rows
            if count >= most:
                yield [np.concatenate(side) for side in parts]
                parts, count = [[], []], 0
    if count:
        yield [np.concatenate(side) for side in parts]


def _entered(where: str, batch: Any) -> tuple[Entries, Entries]:
    """Make entries of sums, those to train on and those held out."""
    columns = [batch.column(name) for name in SUMS]
    if any(column.null_count for column in columns):
        raise DataError(f"{where}: a row lacks a value by which it is added up")
    held, code, label, amount, points = columns
    try:
        codes = np.ascontiguousarray(fixed_bytes(code))
    except ValueError:
        raise DataError(f"{where}: a positionCode has not 32 bytes") from None
    labels, amounts, scored = (
        column.to_numpy().astype(np.int64) for column in (label, amount, points)
    )
    if (amounts > MAX_COUNT).any():
        raise DataError(TOO_MANY)
    status = decode_hcp(codes)[2]
    good = (status == 0) & ((codes[:, 0] & 1) == 0) & (labels >= 0)
    good &= (labels < N_LABELS) & (scored >= 0) & (scored <= 2 * amounts)
    if not good.all():
        raise DataError(
            f"{where}: a positionCode, moveLabel or points is none; load the games "
            "again with maou hcpe-convert"
        )
    entries = np.empty((len(codes), WORDS), dtype=np.uint64)
    entries[:, :4] = codes.view("<u8")
    entries[:, 4] = labels
    entries[:, 5] = amounts << 32 | scored
    is_held = held.to_numpy(zero_copy_only=False).astype(np.bool_)
    return entries[~is_held], entries[is_held]
