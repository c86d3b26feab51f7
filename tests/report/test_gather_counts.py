"""Every count that files hold is counted anew by SQL; all else are the sums of the stats."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import orjson
import pytest
from support.reports import Json, Rows, dataset, top
from support.run_folders import SmallCrawl

from webpairs import BuildOptions, ExtractOptions, build_dataset, extract_candidates
from webpairs.drops import Drop
from webpairs.quantities import counted


@pytest.fixture(scope="module")
def run(little_web: SmallCrawl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from the little web, with a threshold in the midst of its scores."""
    out = tmp_path_factory.mktemp("report") / "run"
    build_dataset(
        BuildOptions(
            inputs=tuple(map(str, little_web.files.warc)),
            images="archive",
            out=str(out),
            model="tiny",
            threshold=0.3,
            shard_size=60,
            workers=1,
        )
    )
    return out


@pytest.fixture(scope="module")
def told(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Json:
    return dataset(run, out=tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="module")
def rows(run: Path) -> Rows:
    return Rows(
        samples=sorted((run / "metadata").glob("*.parquet")),
        drops=sorted((run / "drops").glob("*.parquet")),
        texts=sorted((run / "columns" / "texts_per_image").glob("*.parquet")),
    )


NUMBERS = {
    "similarity": "similarity",
    "shorter_side": "least(WIDTH, HEIGHT)",
    "longer_side": "greatest(WIDTH, HEIGHT)",
    "aspect": "WIDTH::DOUBLE / HEIGHT",
    "bytes": "bytes",
    "caption_chars": "length(TEXT)",
    "copies": "copies",
    "num_tags": "len(tags)",
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_samples(told: Json, rows: Rows, name: str) -> None:
    counted, value = told["numbers"][name], NUMBERS[name]
    assert counted["counts"] == rows.between(value, counted["edges"], "samples")
    assert sum(counted["counts"]) == counted["counted"] == told["samples"] > 50
    assert counted["missing"] == 0
    assert counted["least"] == rows.number(f"SELECT min({value}) FROM samples")
    assert counted["most"] == rows.number(f"SELECT max({value}) FROM samples")
    assert counted["mean"] == pytest.approx(
        rows.number(f"SELECT avg({value}) FROM samples"), rel=1e-5
    )


@pytest.mark.parametrize("name", ["shorter_side", "longer_side", "caption_chars", "copies"])
def test_quantiles_of_whole_numbers_are_values(told: Json, rows: Rows, name: str) -> None:
    for share, value in told["numbers"][name]["quantiles"].items():
        sql = f"SELECT quantile_disc({NUMBERS[name]}, {share} + 1e-9) FROM samples"
        assert value == pytest.approx(rows.number(sql), abs=1)


def test_texts_per_image(told: Json, rows: Rows) -> None:
    counted = told["numbers"]["texts_per_image"]
    assert counted["counts"] == rows.between("texts_per_image", counted["edges"], "texts")


NAMES = {
    "host": "regexp_extract(URL, '^https?://([^/:]+)', 1)",
    "shape": "CASE WHEN WIDTH > HEIGHT THEN 'landscape' WHEN WIDTH < HEIGHT THEN 'portrait' "
    "ELSE 'square' END",
    "nsfw": "coalesce(NSFW, 'UNTAGGED')",
    "license": "nullif(LICENSE, '?')",
    "license_id": "license_id",
    "license_where": "license_where",
    "language": "language",
    "opt_out": "opt_out",
    "image_source": "image_source",
    "text_source": "text_source",
    "format": "format",
    "http_status": "http_status",
    "permissions": "permissions",
    "year": "year(crawl_date)",
    "crawl": "regexp_extract(crawl_file, '(^|/)([a-z-]+)-[0-9].*$', 2)",
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_samples(told: Json, rows: Rows, kind: str) -> None:
    expected = rows.counts(NAMES[kind], "samples")
    found = {name: num for name, num in top(told["names"], kind).items() if num}
    assert found == expected
    if expected:
        counted = told["names"][kind]
        assert (counted["counted"], counted["distinct"]) == (
            sum(expected.values()),
            len(top(told["names"], kind)),
        )
        nums = [num for _, num in counted["top"]]
        assert nums == sorted(nums, reverse=True)


def test_concentration_of_hosts(told: Json, rows: Rows) -> None:
    nums = sorted(rows.counts(NAMES["host"], "samples").values(), reverse=True)
    half = next(k for k in range(len(nums) + 1) if 2 * sum(nums[:k]) >= sum(nums))
    assert told["hosts"]["names_of_half"] == half > 1
    for mark, part in told["hosts"]["shares_of_top"].items():
        assert part == pytest.approx(sum(nums[: int(mark)]) / sum(nums))


def test_drops_by_reason_and_signal(told: Json, rows: Rows) -> None:
    expected = rows.counts("reason", "drops")
    assert top(told["names"], "drop") == expected
    assert {"similarity", "opted_out_page", "opted_out_image", "http_4xx"} <= set(expected)
    for reason in expected:
        where = f"reason = '{reason}'"
        for kind in ("signal", "http_status"):
            found = top(told["names"], f"{kind} {reason}")
            assert found == rows.counts(kind, "drops", where), (kind, reason)
    assert top(told["names"], "signal opted_out_page")


def test_similarities_of_drops(told: Json, rows: Rows) -> None:
    counted = told["dropped_similarity"]
    value = "CASE WHEN reason = 'similarity' THEN similarity END"
    assert counted["counts"] == rows.between(value, counted["edges"], "drops")
    assert counted["counted"] == told["run"]["funnel"]["drops"]["similarity"] > 50


def test_what_other_thresholds_would_keep(told: Json, rows: Rows) -> None:
    assert 0.3 in [one["threshold"] for one in told["thresholds"]]
    for one in told["thresholds"]:
        above = f"similarity >= {one['threshold']!r}::DOUBLE"
        assert one["kept"] == rows.number(f"SELECT count(*) FROM samples WHERE {above}")
        assert one["dropped"] == rows.number(
            f"SELECT count(*) FROM drops WHERE reason = 'similarity' AND {above}"
        )
    kept = [one["kept"] for one in told["thresholds"]]
    assert kept[0] == told["samples"]
    assert kept[-1] < kept[0]


def test_samples_on_both_sides_of_the_threshold(told: Json, rows: Rows) -> None:
    kept = "SELECT list((similarity, key, TEXT) ORDER BY similarity, key) FROM samples"
    expected = rows.number(kept)[:12]
    found = [(one["similarity"], one["key"], one["text"]) for one in told["lowest"]]
    assert found == expected
    dropped = (
        "SELECT list((similarity, text, url) ORDER BY similarity DESC) FROM drops "
        "WHERE reason = 'similarity'"
    )
    expected = rows.number(dropped)[:12]
    assert [(one["similarity"], one["text"]) for one in told["highest_dropped"]] == [
        one[:2] for one in expected
    ]
    for one, (_, _, url) in zip(told["highest_dropped"], expected, strict=True):
        assert url.partition("//")[2].startswith(one["host"])
    assert told["highest_dropped"][0]["similarity"] < 0.3 <= told["lowest"][0]["similarity"]


def test_random_samples_are_samples(told: Json, rows: Rows) -> None:
    assert len({one["key"] for one in told["random"]}) == 24
    for one in told["random"]:
        sql = f"SELECT (TEXT, similarity) FROM samples WHERE key = '{one['key']}'"
        assert rows.number(sql) == (one["text"], one["similarity"])


def test_the_rest_is_the_sum_of_the_stats(told: Json, run: Path) -> None:
    stats = [orjson.loads(path.read_bytes()) for path in (run / "stats").glob("[0-9]*.json")]
    extract = orjson.loads((run / "stats" / "extract.json").read_bytes())
    dedupe = orjson.loads((run / "stats" / "dedupe.json").read_bytes())
    drops = Counter[str]()
    for one in (extract, dedupe, *stats):
        drops.update(one["drops"])
    drops.pop(str(Drop.RECORD_BROKEN), None)
    funnel = told["run"]["funnel"]
    assert funnel["drops"] == dict(drops)
    assert funnel["candidates"] == extract["found"] == told["samples"] + sum(drops.values())
    assert told["samples"] == funnel["samples"] == sum(one["samples"] for one in stats)
    assert told["shards"] == len(stats) > 3
    assert told["run"]["image_bytes"] == sum(one["image_bytes"] for one in stats)
    for name, seconds in told["run"]["seconds"].items():
        if name in ("extract", "dedupe"):
            assert seconds == (extract if name == "extract" else dedupe)["seconds"]
        else:
            assert seconds == pytest.approx(sum(one["seconds"][name] for one in stats), abs=1e-6)


def test_rows_and_stats_agree(told: Json) -> None:
    assert (told["disagreements"], told["problems"]) == ([], {})


def test_where_rows_and_stats_do_not_agree_it_says_so(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    victim = sorted((copy / "drops").glob("[0-9]*.parquet"))[0]
    reasons = Counter(Rows(drops=[victim]).counts("reason", "drops"))
    victim.write_bytes(b"PAR1 this is not a parquet PAR1")
    told = dataset(copy, out=tmp_path)
    lines = "\n".join(told["disagreements"])
    assert f"drops/{victim.name} cannot be read" in lines
    total = told["run"]["funnel"]["drops"]
    for reason, num in reasons.items():
        rows = counted(total[reason] - num, "row")
        line = f"dropped for {reason}: {total[reason]:,} in stats, {rows}"
        assert line in lines
    assert "Not all is well" in (tmp_path / "report.html").read_text()


def test_a_folder_of_candidates_alone(little_web: SmallCrawl, tmp_path: Path) -> None:
    out = tmp_path / "links"
    inputs = tuple(map(str, little_web.files.wat))
    extract_candidates(ExtractOptions(inputs=inputs, out=str(out), workers=1))
    told = dataset(out, out=tmp_path)
    assert told["samples"] == 0
    assert told["run"]["funnel"]["candidates"] > 100
    assert told["map"] is None
