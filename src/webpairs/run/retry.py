"""Trying dropped candidates again: which ones, cut into which new shards.

    drops/*.parquet of committed shards -> work/unique/00012.parquet and on -> build -> new shards

The shards that are there stay as they are. A candidate tried again has an outcome in two shards,
and the later one supersedes. The plan depends on the shards before the retry alone, so that a
retry killed at any instant is planned alike when the same line is typed again.
"""

from __future__ import annotations

import difflib
import shutil
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from webpairs.checks import resolve_workers
from webpairs.dedupe.cut import UNIQUE_SCHEMA, Feed, ShardPlan, open_parquet
from webpairs.drops import Drop
from webpairs.errors import ConfigError, DamagedFile, RunError
from webpairs.external_sort import BATCH_ROWS, expose, from_plain, open_duckdb, stream
from webpairs.files import write_whole
from webpairs.options import BuildOptions
from webpairs.parquet.file import open_bounded, reading
from webpairs.quantities import counted
from webpairs.recipes.recipe import Recipe
from webpairs.run_folder.funnel import Funnel
from webpairs.run_folder.layout import ROW_GROUP_ROWS, Keys, ShardFiles
from webpairs.run_folder.lost_stats import check_stats
from webpairs.run_folder.manifest import finish, read_manifest
from webpairs.run_folder.retries import RetryRecord, read_retries, unfinished_retry, write_retry
from webpairs.run_folder.run_json import DedupeForm, ShardForm, read_form
from webpairs.run_folder.schema import CANDIDATES, UID

RETRYABLE: Final = tuple(
    drop for drop in Drop if drop.stage in ("obtain", "decode") and not drop.sensitive
)
"""Reasons that another answer from the web may undo, and whose rows keep their candidate."""

_RULES: Final = tuple(field.name for field in fields(Recipe))
_OPTIONS: Final = tuple(field.name for field in fields(BuildOptions))
_SHARD: Final = pa.field("shard", pa.int32())
_REASON: Final = pa.field("reason", pa.string())
# What came of the image (final_url, http_status) belongs to the attempt and is not carried over.
_CANDIDATE_SCHEMA: Final = pa.schema(
    [UNIQUE_SCHEMA.field(name) for name in (*(c.name for c in CANDIDATES), "copies")]
)
_OUTCOMES_SCHEMA: Final = pa.schema([pa.field("uid", UID), _SHARD])
_DROPPED_SCHEMA: Final = pa.schema([*_CANDIDATE_SCHEMA, _REASON, _SHARD])
_COUNTED_SCHEMA: Final = pa.schema([pa.field("uid", UID), _REASON, _SHARD])


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The shards of a retry and what they take; no shards when there is nothing to retry."""

    number: int
    keys: Keys
    """Of the dataset: as wide as those of its other shards."""
    shards: tuple[ShardPlan, ...]
    taken: Counter[Drop]
    goes_on: bool
    """Whether it was begun before."""


@dataclass(frozen=True, slots=True)
class RetryGain:
    """What became of the candidates that a retry tried again."""

    tried: Counter[Drop]
    """By the reason they were dropped for before."""
    gained: Counter[Drop]
    """Those that are samples now, by the same reason."""
    dropped: Counter[Drop]
    """The others, by the reason they were dropped for now."""


def parse_reasons(names: Iterable[str]) -> tuple[Drop, ...]:
    """Return the reasons called `names`, in the order of `Drop`.

    Raises ConfigError, naming those that can be retried, for all others.
    """
    can = f"reasons that can be retried are {', '.join(RETRYABLE)}"
    asked: set[Drop] = set()
    for name in names:
        if name in RETRYABLE:
            asked.add(Drop(name))
            continue
        if name not in frozenset(Drop):
            near = difflib.get_close_matches(name, RETRYABLE, n=1, cutoff=0.5)
            hint = f"did you mean {str(near[0])!r}? " if near else ""
            raise ConfigError(f"--reasons {name!r} is unknown: {hint}{can}")
        why = (
            "its rows keep no URL to try again"
            if Drop(name).sensitive
            else f"the stage {Drop(name).stage} would drop the same again"
        )
        raise ConfigError(f"--reasons {name} cannot be retried, since {why}: {can}")
    if not asked:
        raise ConfigError(f"--reasons is empty: {can}")
    return tuple(drop for drop in Drop if drop in asked)


def read_retryable(out: Path) -> dict[str, Any]:
    """Return the manifest of run folder `out`; raise ConfigError if it cannot be retried."""
    manifest = read_manifest(out)
    if manifest is None or manifest["verb"] != "build":
        raise ConfigError(f"{out} holds no dataset: name the --out of a webpairs build")
    if manifest["finished"] is None:
        raise ConfigError(f"the build of {out} is not finished: type its line again first")
    if (images := manifest["options"].get("images")) != "web":
        raise ConfigError(
            f"{out} was built with --images {images}, which gives the same answers again: only "
            "--images web can be retried"
        )
    check_stats(out, manifest)
    return manifest


def retry_options(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `BuildOptions` that a dataset was built with, from its manifest.

    All that change the dataset, and the inputs. `out` and what belongs to the machine are left to
    the caller.
    """
    stored: Mapping[str, Any] = manifest["options"]
    # JSON has lists where the options have tuples.
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    rules = {name: plain[f"recipe.{name}"] for name in _RULES if f"recipe.{name}" in plain}
    options = {name: plain[name] for name in _OPTIONS if name in plain}
    inputs = tuple(one["path"] for one in manifest["inputs"])
    return {**options, "inputs": inputs, "recipe": Recipe(**rules)}


def _num_built(out: Path) -> int:
    path = out / "stats" / "dedupe.json"
    dedupe = read_form(path, DedupeForm)
    if dedupe is None:
        raise DamagedFile(path, FileNotFoundError())
    return dedupe["shards"]


def plan_retry(
    out: Path,
    manifest: Mapping[str, Any],
    reasons: Sequence[Drop],
    *,
    memory_bytes: int,
    check_hashes: str = "on",
) -> RetryPlan:
    """Cut the candidates whose latest outcome is one of `reasons` into shards, and record it.

    They are ordered by uid, under `work/unique`; then `stats/retry-00000.json` is written, and a
    plan that is recorded is gone on with. Raises ConfigError when another retry is not finished or
    the keys would be too narrow, RunError when memory or disk do not suffice.
    """
    num_built = _num_built(out)
    retries = read_retries(out)
    keys = Keys.for_dataset(num_built, manifest["options"]["shard_size"])
    record = unfinished_retry(manifest, retries)
    if record is None:
        number = len(retries)
        first = num_built + sum(len(retry.shards) for retry in retries)
    else:
        number, first = record.number, record.first_shard
        if set(record.reasons) != set(reasons) or record.check_hashes != check_hashes:
            raise ConfigError(
                f"retry {number} of {out} is not finished: finish it with "
                f"webpairs retry {out} --reasons {','.join(record.reasons)}"
                + _typed_check(record.check_hashes, manifest)
            )
    unique = out / "work" / "unique"
    if record is None or not _is_cut(out, unique, record):
        shutil.rmtree(unique, ignore_errors=True)
        with _chosen(out, reasons, num_built, first, memory_bytes) as chosen:
            shards = _cut(chosen, unique, keys, first, manifest["options"]["shard_size"])
        if record is None:
            when = datetime.now(UTC).isoformat()
            record = RetryRecord(number, tuple(reasons), first, shards, when, check_hashes)
            if shards:
                write_retry(out, record)
        elif shards != record.shards:
            raise RunError(
                f"the drops of {out} are not those that retry {number} was planned with: restore "
                f"them, or remove {out}/stats/retry-{number:05}.json if none of its shards is there"
            )
    return RetryPlan(
        number=number,
        keys=keys,
        shards=tuple(
            ShardPlan(first + index, str(unique / f"{name}.parquet"), counts.total())
            for index, (name, counts) in enumerate(record.shards.items())
        ),
        taken=record.taken,
        goes_on=len(retries) > number,
    )


def finish_retry(
    out: Path,
    manifest: Mapping[str, Any],
    plan: RetryPlan,
    funnel: Funnel,
    advice: Sequence[str] = (),
) -> None:
    """Bring the manifest up to date once every shard of `plan` is committed."""
    when = datetime.now(UTC).isoformat()
    finish(out, {**manifest, "retries": plan.number + 1}, funnel, when, advice)


def read_gain(out: Path, plan: RetryPlan, *, memory_bytes: int) -> RetryGain:
    """Return what a retry gained whose shards are all committed; raises RunError as `plan_retry`.

    A sample's earlier reason stands in the drops of the last shard that tried it before.
    """
    dropped: Counter[Drop] = Counter()
    files = {one.number: ShardFiles.of(out, plan.keys.shard(one.number)) for one in plan.shards}
    for one in files.values():
        counts = (read_form(one.stats, ShardForm) or {"drops": {}})["drops"]
        dropped.update({Drop(reason): num for reason, num in counts.items()})
    earlier = {
        int(path.stem): ShardFiles.of(out, path.stem)
        for path in sorted((out / "stats").glob("[0-9]*.json"))
        if int(path.stem) < min(files)
    }
    samples = (
        _with_shard(batch, number, _OUTCOMES_SCHEMA)
        for number, one in files.items()
        for batch in _read(one.metadata, ["uid"])
    )
    with open_duckdb(
        out / "work" / "spill-gain", memory_bytes=memory_bytes, threads=resolve_workers(None)
    ) as duck:
        expose(duck, "samples", samples, _OUTCOMES_SCHEMA)
        duck.execute("CREATE TABLE gained AS SELECT uid_high, uid_low FROM samples")
        reasons = tuple(plan.taken)
        expose(duck, "dropped", _dropped(earlier, reasons, _COUNTED_SCHEMA), _COUNTED_SCHEMA)
        rows = duck.execute(
            "SELECT reason, count(*) FROM (SELECT arg_max(reason, shard) AS reason FROM dropped "
            "SEMI JOIN gained USING (uid_high, uid_low) GROUP BY uid_high, uid_low) GROUP BY reason"
        ).fetchall()
    return RetryGain(plan.taken, Counter({Drop(reason): num for reason, num in rows}), dropped)


def _typed_check(check_hashes: str, manifest: Mapping[str, Any]) -> str:
    """Return the option that a retry was begun with, where it is not as in the build."""
    built_with = manifest["options"].get("check_hashes", "on")
    return "" if check_hashes == built_with else f" --check-hashes {check_hashes}"


def _is_cut(out: Path, unique: Path, record: RetryRecord) -> bool:
    """Say whether the candidates of every shard left are there.

    Files are recorded only once they are written, and what was there before them is removed
    first: a file that is there belongs to the retry recorded last.
    """
    return all(
        (unique / f"{name}.parquet").exists() or ShardFiles.of(out, name).stats.exists()
        for name in record.shards
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    num_rows: int
    rows: Iterator[pa.Table]
    """Candidates with the reason they were dropped for, by uid."""


@contextmanager
def _chosen(
    out: Path, reasons: Sequence[Drop], num_built: int, end: int, memory_bytes: int
) -> Generator[_Chosen]:
    """Choose from the committed shards before `end`; a uid is once in the first `num_built`."""
    files = {
        int(path.stem): ShardFiles.of(out, path.stem)
        for path in sorted((out / "stats").glob("[0-9]*.json"))
        if int(path.stem) < end
    }
    retried = {number: one for number, one in files.items() if number >= num_built}
    with open_duckdb(
        out / "work" / "spill-retry", memory_bytes=memory_bytes, threads=resolve_workers(None)
    ) as duck:
        expose(duck, "outcomes", _outcomes(retried), _OUTCOMES_SCHEMA)
        duck.execute(
            "CREATE TABLE latest AS SELECT uid_high, uid_low, max(shard) AS shard "
            "FROM outcomes GROUP BY uid_high, uid_low"
        )
        latest = (
            "FROM dropped LEFT JOIN latest USING (uid_high, uid_low) "
            "WHERE latest.shard IS NULL OR latest.shard = dropped.shard"
        )
        # Twice over the files: the rows are wide, and their number is to be known first.
        expose(duck, "dropped", _dropped(files, reasons, _COUNTED_SCHEMA), _COUNTED_SCHEMA)
        num_rows = _one_number(duck, f"SELECT count(*) {latest}")
        duck.unregister("dropped")
        expose(duck, "dropped", _dropped(files, reasons, _DROPPED_SCHEMA), _DROPPED_SCHEMA)
        sql = f"SELECT dropped.* {latest} ORDER BY uid_high, uid_low"
        yield _Chosen(num_rows, (from_plain(batch, _DROPPED_SCHEMA) for batch in stream(duck, sql)))


def _outcomes(shards: Mapping[int, ShardFiles]) -> Iterator[pa.RecordBatch]:
    """Yield uid and shard of every sample and drop, whatever its reason."""
    for number, files in shards.items():
        for path in (files.metadata, files.drops):
            for batch in _read(path, ["uid"]):
                yield _with_shard(batch, number, _OUTCOMES_SCHEMA)


def _dropped(
    shards: Mapping[int, ShardFiles], reasons: Sequence[Drop], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `schema` that were dropped for one of `reasons`."""
    wanted = pa.array(map(str, reasons), pa.string())
    for number, files in shards.items():
        for batch in _read(files.drops, schema.names):
            is_wanted = pc.is_in(  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
                batch.column("reason"), value_set=wanted
            )
            rows = batch.filter(is_wanted)
            if rows.num_rows:
                yield _with_shard(rows, number, schema)


def _read(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    # A shard without samples has no metadata, one without drops no drops.
    if path.exists():
        with reading(path), open_bounded(path, columns) as file:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def _with_shard(batch: pa.RecordBatch, number: int, schema: pa.Schema) -> pa.RecordBatch:
    """Return `batch` as `schema`; columns that older datasets lack are null."""
    held = batch.append_column(_SHARD, pa.repeat(pa.scalar(number, pa.int32()), batch.num_rows))
    return pa.RecordBatch.from_arrays(
        [
            held.column(field.name)
            if field.name in held.schema.names
            else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )


def _cut(
    chosen: _Chosen, folder: Path, keys: Keys, first: int, shard_size: int
) -> dict[str, Counter[Drop]]:
    """Write the chosen rows as the candidates of new shards; return their earlier reasons."""
    last = first + -(-chosen.num_rows // shard_size) - 1
    if len(str(last)) > keys.shard_digits:
        raise ConfigError(
            f"{counted(chosen.num_rows, 'more candidate')} would need shard {last}, but the "
            "keys of this "
            f"dataset have room for {10**keys.shard_digits:,} shards: retry fewer --reasons, or "
            "build anew"
        )
    shards: dict[str, Counter[Drop]] = {}
    feed = Feed(chosen.rows)
    for start in range(0, chosen.num_rows, shard_size):
        name = keys.shard(first + start // shard_size)
        left = min(shard_size, chosen.num_rows - start)
        counts: Counter[str] = Counter()
        with (
            write_whole(folder / f"{name}.parquet") as temporary,
            open_parquet(temporary, UNIQUE_SCHEMA) as writer,
        ):
            for done in range(0, left, ROW_GROUP_ROWS):
                rows = feed.take(min(ROW_GROUP_ROWS, left - done))
                counts.update(rows.column("reason").to_pylist())
                writer.write_table(_as_unique(rows))
        shards[name] = Counter({Drop(reason): num for reason, num in counts.items()})
    return shards


def _as_unique(rows: pa.Table) -> pa.Table:
    return pa.Table.from_arrays(
        [
            rows.column(field.name)
            if field.name in _CANDIDATE_SCHEMA.names
            else pa.nulls(rows.num_rows, field.type)
            for field in UNIQUE_SCHEMA
        ],
        schema=UNIQUE_SCHEMA,
    )


def _one_number(duck: duckdb.DuckDBPyConnection, sql: str) -> int:
    ((number,),) = duck.execute(sql).fetchall()
    return number
