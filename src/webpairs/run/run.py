"""Coordinate a run: check, lock, extract, dedupe, build the shards, finish.

Each stage maps a pure function over units through an engine; a unit that has left its mark
(`work/marks/*.json`, `stats/<shard>.json`) is not done again, so that the same line, typed after
any kind of stop, goes on where the run was.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from webpairs.build.build_shard import BuildUnit, build_shard
from webpairs.build.hash_check import HashWatch
from webpairs.build.shard_writer import GivenColumns
from webpairs.checks import resolve_workers
from webpairs.clip.model import Model, load_model
from webpairs.crawl.inputs import Input, find_inputs, told_of_reads
from webpairs.dedupe.archive_join import join_archive
from webpairs.dedupe.cut import Cut, ShardPlan
from webpairs.dedupe.dedupe import (
    DedupeRules,
    DedupeStats,
    DedupeUnit,
    cut_shards,
    dedupe_unit,
    plan_dedupe,
    write_opt_outs,
)
from webpairs.drops import Drop
from webpairs.engine.link import Link
from webpairs.engine.local import run_units
from webpairs.engine.malloc import give_back_freed
from webpairs.errors import ConfigError
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.tables.columns import TableColumns, boxes_column
from webpairs.extract.tables.read import given_columns
from webpairs.extract.text import CLEANER_VERSION
from webpairs.extract.unit import ExtractUnit, extract_unit, plan_units
from webpairs.files import remove_leftovers, write_json
from webpairs.image.decode import ImageRules
from webpairs.options import (
    CRAWL_SHARD_SIZE,
    TABLE_SHARD_SIZE,
    BuildOptions,
    ExtractOptions,
    RetryOptions,
)
from webpairs.progress import RunProgress, StageTotal
from webpairs.recipes.recipe import Recipe
from webpairs.run.advice import advise, read_outcome
from webpairs.run.link import CoordinatorLink
from webpairs.run.model import model_facts, same_model, threshold_of
from webpairs.run.remembered import ask_as_before, web_facts
from webpairs.run.result import (
    BuildResult,
    ExtractResult,
    build_result,
    checked_funnel,
    extract_result,
)
from webpairs.run.retry import (
    finish_retry,
    parse_reasons,
    plan_retry,
    read_gain,
    read_retryable,
    retry_options,
)
from webpairs.run_folder.funnel import read_funnel, read_json
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.lock import checked_out, explained, locked
from webpairs.run_folder.lost_stats import check_stats
from webpairs.run_folder.manifest import finish, new_manifest, start_or_resume
from webpairs.run_folder.state import at_work

if TYPE_CHECKING:
    from webpairs.obtain.dns import Resolver
    from webpairs.run_folder.texts_per_image import PlaceholderReport

SHARDS_A_WORKER: Final = 3
"""Shards that a worker has under way when images come from the web: while one waits for a slow
host the others go on."""
IMAGES_SUFFIX: Final = ".images.parquet"
BYTES_A_ROW: Final = 1_500
"""A candidate waiting in extract's columns, with its index row."""


def build_dataset(
    options: BuildOptions,
    progress: RunProgress | None = None,
    *,
    resolver: Resolver | None = None,
) -> BuildResult:
    """Build a dataset, or go on with the one in `options.out`; return its funnel.

    Raises ConfigError before any work for options and inputs that cannot work, RunError when the
    run cannot go on. Stopped at any instant and called again with the same options, it ends with
    the dataset that an undisturbed run makes. `resolver` looks up names instead of the system's
    DNS servers.
    """
    progress = progress or RunProgress(quiet=True)
    recipe = options.resolved_recipe()
    inputs = find_inputs(options.inputs)
    _check_images(options, inputs)
    only_tables = all(one.kind == "table" for one in inputs)
    shard_size = options.shard_size or (TABLE_SHARD_SIZE if only_tables else CRAWL_SHARD_SIZE)
    options = replace(options, shard_size=shard_size)
    rules = _extract_rules(recipe, options)
    given = given_columns(inputs, rules.table_columns, min_text_chars=rules.min_text_chars)
    threshold = threshold_of(recipe, options.threshold) if options.scores else None
    out = checked_out(options.out, options.inputs)
    with explained(out), locked(out), at_work(out, "build", progress, options.metrics_port):
        model = load_model(recipe.model, progress=True) if options.scores else None
        manifest = start_or_resume(
            out,
            new_manifest(
                "build",
                # Naming the model's own threshold is no other dataset.
                options.dataset_options() | {"threshold": threshold},
                inputs,
                None if model is None else model_facts(model, threshold),
                CLEANER_VERSION,
                given,
                web_facts(options),
            ),
        )
        placeholders = None
        run = _Run(out, progress, resolve_workers(options.workers), options.max_memory_bytes)
        if manifest["finished"] is None:
            remove_leftovers(out)
            options, manifest = ask_as_before(out, manifest, options, "build", progress.say)
            archive = options.images == "archive"
            folder = run.work / "candidates"
            run.extract(inputs, rules, archive=archive, folder=folder)
            cut = run.dedupe(options)
            keys = Keys.for_dataset(len(cut.shards), shard_size)
            paths = tuple((one.name, one.path) for one in inputs if one.kind == "warc")
            source = paths if archive else None
            run.build_shards(options, keys, cut.shards, source, given, model, threshold, resolver)
            remove_leftovers(out)  # of workers that the system killed on the way
            placeholders = run.count_texts()
            when, advice = datetime.now(UTC).isoformat(), advise(read_outcome(out, manifest))
            finish(out, manifest, checked_funnel(out), when, advice)
        else:
            check_stats(out, manifest)
            progress.say(f"{out} was finished before: nothing left to do")
        return build_result(out, placeholders)


def retry_dataset(
    options: RetryOptions,
    progress: RunProgress | None = None,
    *,
    resolver: Resolver | None = None,
) -> BuildResult:
    """Try dropped candidates of a finished dataset again, in new shards beside those it has.

    A candidate's later outcome supersedes the earlier one in every count. Stopped at any instant
    and called again with the same reasons, it goes on. Raises as `build_dataset` does.
    """
    progress = progress or RunProgress(quiet=True)
    reasons = parse_reasons(options.reasons)
    out = Path(options.out)
    manifest = read_retryable(out)
    build = options.build_options(retry_options(manifest))
    with explained(out), locked(out), at_work(out, "retry", progress, build.metrics_port):
        manifest = read_retryable(out)  # now that nobody else writes it
        remove_leftovers(out)
        run = _Run(out, progress, resolve_workers(build.workers), build.max_memory_bytes)
        plan = plan_retry(
            out,
            manifest,
            reasons,
            memory_bytes=build.max_memory_bytes,
            check_hashes=build.check_hashes,
        )
        placeholders = gain = None
        if plan.shards:
            build, manifest = ask_as_before(out, manifest, build, "retry", progress.say)
            model, threshold = same_model(out, manifest["model"])
            given = tuple((name, kind) for name, kind in manifest.get("given_columns", ()))
            run.build_shards(build, plan.keys, plan.shards, None, given, model, threshold, resolver)
            remove_leftovers(out)
            placeholders = run.count_texts()
            gain = read_gain(out, plan, memory_bytes=build.max_memory_bytes)
            advice = advise(read_outcome(out, manifest))
            finish_retry(out, manifest, plan, checked_funnel(out), advice)
        else:
            progress.say(f"{out} has no candidates that were dropped for these reasons")
        return build_result(out, placeholders, gain, is_retry=True)


def _check_images(options: BuildOptions, inputs: Sequence[Input]) -> None:
    """Raise ConfigError where the archive is asked for images that it cannot hold."""
    if options.images != "archive" or any(one.kind == "warc" for one in inputs):
        return
    what = "a WAT, which names images" if inputs[0].kind == "wat" else "a table, which names images"
    raise ConfigError(
        f"{inputs[0].path} is {what} but holds none: use --images web, or give the WARC files too"
    )


def _extract_rules(recipe: Recipe, options: BuildOptions | ExtractOptions) -> ExtractRules:
    return ExtractRules(
        texts=recipe.texts,
        image_sources=recipe.image_sources,
        min_text_chars=recipe.min_text_chars,
        languages=recipe.languages,
        table_columns=TableColumns(
            url=options.url_column,
            text=options.text_column,
            boxes=options.blur_boxes if isinstance(options, BuildOptions) else None,
        ),
    )


def extract_candidates(
    options: ExtractOptions, progress: RunProgress | None = None
) -> ExtractResult:
    """Extract candidates alone, as `OUT/candidates/*.parquet`; raises as `build_dataset` does."""
    progress = progress or RunProgress(quiet=True)
    recipe = options.resolved_recipe()
    inputs = find_inputs(options.inputs)
    rules = _extract_rules(recipe, options)
    given_columns(inputs, rules.table_columns, min_text_chars=rules.min_text_chars)
    out = checked_out(options.out, options.inputs)
    with explained(out), locked(out), at_work(out, "extract", progress):
        decisive: dict[str, Any] = {
            name: getattr(recipe, name)
            for name in ("name", "texts", "image_sources", "min_text_chars", "languages", "sha256")
        } | {"url_column": options.url_column, "text_column": options.text_column}
        new = new_manifest("extract", decisive, inputs, None, CLEANER_VERSION)
        manifest = start_or_resume(out, new)
        run = _Run(out, progress, resolve_workers(options.workers), options.max_memory_bytes)
        if manifest["finished"] is None:
            remove_leftovers(out)
            run.extract(inputs, rules, archive=False, folder=out / "candidates")
            when, advice = datetime.now(UTC).isoformat(), advise(read_outcome(out, manifest))
            finish(out, manifest, read_funnel(out), when, advice)
        else:
            check_stats(out, manifest)
        return extract_result(out)


class _Run:
    """What the stages of one run share."""

    def __init__(self, out: Path, progress: RunProgress, workers: int, memory_bytes: int) -> None:
        self.out = out
        self.work = out / "work"
        self._progress = progress
        self._workers = workers
        self._memory_bytes = memory_bytes

    def extract(
        self,
        inputs: Sequence[Input],
        rules: ExtractRules,
        *,
        archive: bool,
        folder: Path,
    ) -> None:
        """Write the candidates of all inputs, and in archive mode the image index."""
        mark = self.out / "stats" / "extract.json"
        if mark.exists():
            return
        units = plan_units(
            inputs,
            folder,
            rules,
            archive=archive,
            max_rows_in_memory=self._memory_bytes // self._workers // BYTES_A_ROW,
        )
        clock = time.perf_counter()
        marks = [self.work / "marks" / f"extract-{unit.name}.json" for unit in units]
        amounts = [sum(one.bytes for one in unit.inputs) / 1e6 for unit in units]
        self._map("extract", "MB", _extract, units, marks, amounts)
        parts = [read_json(path) for path in marks]
        counters = ("inputs", "bytes_read", "records", "pages", "found", "written", "captures")
        write_json(
            mark,
            {
                **{name: sum(part[name] for part in parts) for name in counters},
                "drops": _sum_counts(part["drops"] for part in parts),
                "warnings": [line for part in parts for line in part["warnings"]],
                "seconds": round(time.perf_counter() - clock, 3),
            },
        )

    def dedupe(self, options: BuildOptions) -> Cut:
        """Find the unique candidates, join them with the archive, cut them into shards."""
        mark = self.out / "stats" / "dedupe.json"
        unique = self.work / "unique"
        candidates = sorted(self.work.glob("candidates/*.parquet"))
        images = [str(path) for path in candidates if path.name.endswith(IMAGES_SUFFIX)]
        assert options.shard_size is not None
        rules = DedupeRules(
            keep_opted_out=options.keep_opted_out,
            shard_size=options.shard_size,
            limit=options.limit,
            seed=options.seed,
        )
        clock = time.perf_counter()
        units = plan_dedupe(
            [str(path) for path in candidates if str(path) not in images],
            self.work / "dedupe",
            rules,
            memory_bytes=self._memory_bytes,
            workers=self._workers,
        )
        marks = [self.work / "marks" / f"dedupe-{unit.name}.json" for unit in units]
        self._map("dedupe", "parts", _dedupe, units, marks, [1.0] * len(units))
        if options.images == "archive":
            cut = join_archive(units, images, unique, memory_bytes=self._memory_bytes)
        else:
            cut = cut_shards(units, unique)
        if not mark.exists():
            opted_out = write_opt_outs(units, self.out / "drops" / "dedupe.parquet")
            parts = [read_json(path) for path in marks]
            drops = {
                Drop.DUPLICATE: sum(part["duplicate"] for part in parts),
                Drop.OPTED_OUT_PAGE: opted_out,
                Drop.LIMIT: cut.over_limit,
            }
            write_json(
                mark,
                {
                    "candidates": sum(part["found"] for part in parts),
                    "unique": sum(part["unique"] for part in parts),
                    "drops": {str(drop): num for drop, num in drops.items() if num},
                    "shards": len(cut.shards),
                    "seconds": round(time.perf_counter() - clock, 3),
                },
            )
        return cut

    def build_shards(
        self,
        options: BuildOptions,
        keys: Keys,
        shards: Sequence[ShardPlan],
        archive: tuple[tuple[str, str], ...] | None,
        given: GivenColumns,
        model: Model | None,
        threshold: float | None,
        resolver: Resolver | None,
    ) -> None:
        """Build every shard that is not committed yet; `archive` as in `BuildUnit`."""
        recipe = options.resolved_recipe()
        blur_column = boxes_column((name for name, _ in given), options.blur_boxes)
        image_rules = ImageRules.of_recipe(recipe, scaled_decode=model is None)
        units = [
            BuildUnit(
                number=shard.number,
                keys=keys,
                candidates=Path(shard.path),
                out=self.out,
                archive=archive,
                image_rules=image_rules,
                threshold=threshold,
                keep_opted_out=options.keep_opted_out,
                ignored_signals=frozenset(options.ignore_signals),
                decode_threads=-(-self._workers // max(1, min(self._workers, len(shards)))),
                given_columns=given,
                check_hashes=options.check_hashes,
                blur_column=blur_column,
            )
            for shard in shards
        ]
        give_back_freed()
        marks = [ShardFiles.of(self.out, keys.shard(unit.number)).stats for unit in units]
        amounts = [float(shard.num_candidates) for shard in shards]
        with ExitStack() as stack:
            fetcher = None
            if archive is None and not all(mark.exists() for mark in marks):
                from webpairs.obtain.service import FetchService

                fetcher = stack.enter_context(FetchService(options.fetch_rules(), resolver))
            hashes = HashWatch(options.check_hashes, self._progress.say)
            link = CoordinatorLink(self._progress, model, fetcher, hashes)
            in_flight = 1 if fetcher is None else SHARDS_A_WORKER
            self._map("build", "candidates", build_shard, units, marks, amounts, link, in_flight)
            hashes.end()

    def count_texts(self) -> PlaceholderReport:
        """Write the column `texts_per_image` of all samples and say which images have many."""
        from webpairs.run_folder.texts_per_image import texts_per_image

        return texts_per_image(self.out, memory_bytes=self._memory_bytes)

    def _map(
        self,
        stage: str,
        unit_name: str,
        function: Callable[[Any, Link], Any],
        units: Sequence[Any],
        marks: Sequence[Path],
        amounts: Sequence[float],
        link: CoordinatorLink | None = None,
        in_flight: int = 1,
    ) -> None:
        """Map `function` over the units that have left no mark; write the marks of those that
        do not write their own."""
        todo = [position for position, mark in enumerate(marks) if not mark.exists()]
        total = sum(amounts)
        done = total - sum(amounts[position] for position in todo)
        link = link or CoordinatorLink(self._progress)
        with self._progress.stage(StageTotal(stage, unit_name, total, done), link.fetch_figures):
            results = run_units(
                function,
                [units[position] for position in todo],
                workers=self._workers,
                link=link,
                in_flight=in_flight,
            )
            # Closed at once, so that workers end before an error is shown.
            with closing(results):
                for index, result in results:
                    mark = marks[todo[index]]
                    if not mark.exists():
                        write_json(mark, asdict(result))


def _extract(unit: ExtractUnit, link: Link) -> ExtractStats:
    left_mb = sum(one.bytes for one in unit.inputs) / 1e6

    def tell(num_bytes: int) -> None:
        nonlocal left_mb
        # A reader may go back to the start of a file: the bar never shows more than there is.
        read_mb = min(num_bytes / 1e6, left_mb)
        left_mb -= read_mb
        link.report({"done": read_mb})

    with told_of_reads(tell):
        stats = extract_unit(unit)
    link.report({"done": left_mb, "found": stats.found})
    return stats


def _dedupe(unit: DedupeUnit, link: Link) -> DedupeStats:
    stats = dedupe_unit(unit)
    link.report({"done": 1, "unique": stats.unique})
    return stats


def _sum_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
