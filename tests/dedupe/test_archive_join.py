"""The archive join: against a reference that looks at every capture, on small random archives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidate_files import read, uid, write_candidates

from webpairs.dedupe.archive_join import join_archive
from webpairs.dedupe.cut import Cut
from webpairs.dedupe.dedupe import CANDIDATES_SCHEMA, DedupeRules, dedupe_unit, plan_dedupe
from webpairs.extract.url import surt_key
from webpairs.run_folder.schema import IMAGE_INDEX, arrow_schema

Row = dict[str, Any]
INDEX_SCHEMA = arrow_schema(IMAGE_INDEX)
RULES = DedupeRules(keep_opted_out=False, shard_size=4, limit=None, seed=0)
MEMORY = 500_000_000
START = datetime(2024, 5, 1, tzinfo=UTC)
MISSING: Row = dict.fromkeys(
    ("final_url", "http_status", "fetch_date", "image_file", "image_offset", "image_length", "drop")
)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def candidate(url: str, at: int | None, text: str = "a text") -> Row:
    made: Row = dict.fromkeys(CANDIDATES_SCHEMA.names)
    date = None if at is None else day(at)
    made |= {"uid": uid(url, text), "url": url, "text": text, "license": "?", "position": 0}
    return made | {"crawl_date": date}


def capture(url: str, at: int, offset: int, kind: str = "response", **changes: Any) -> Row:
    made: Row = dict.fromkeys(INDEX_SCHEMA.names)
    status = {"redirect": 302}.get(kind, 200)
    made |= {"url": url, "surt": surt_key(url), "file": "a.warc.gz", "offset": offset}
    return made | {"length": 9, "date": day(at), "kind": kind, "status": status} | changes


def run(folder: Path, files: list[list[Row]], candidates: list[Row], rules: DedupeRules) -> Cut:
    folder.mkdir(parents=True)
    path = write_candidates(folder / "0.parquet", candidates)
    images = [str(folder / f"{number}.images.parquet") for number in range(len(files))]
    for image_path, captures in zip(images, files, strict=True):
        pq.write_table(pa.Table.from_pylist(captures, INDEX_SCHEMA), image_path)
    units = plan_dedupe([path], folder / "dedupe", rules, memory_bytes=MEMORY, workers=1)
    for unit in units:
        dedupe_unit(unit)
    cut = join_archive(units, images, folder / "unique", memory_bytes=MEMORY)
    assert join_archive(units, images, folder / "unique", memory_bytes=MEMORY) == cut
    assert not list((folder / "dedupe").glob("spill*"))
    return cut


class Reference:
    """Resolve one candidate at a time, as the rules say it, looking at every capture."""

    def __init__(self, captures: list[Row]) -> None:
        self.captures = sorted(captures, key=lambda c: (c["file"], c["offset"]))

    def gives(self, c: Row) -> str:
        if c["kind"] == "resource" or (c["kind"] == "response" and c["status"] == 200):
            return "image"
        moved = 300 <= c["status"] <= 399 and c["status"] != 304 and c["location"] is not None
        if c["kind"] in ("redirect", "revisit") and moved:
            return "redirect"
        return "revisit" if c["kind"] == "revisit" and c["status"] < 400 else "error"

    def nearest(self, choices: list[Row], at: datetime) -> Row | None:
        return min(
            choices,
            key=lambda c: (abs(c["date"] - at), c["date"], c["file"], c["offset"]),
            default=None,
        )

    def repeated(self, r: Row) -> Row | None:
        """Return the capture that a revisit stands for."""
        originals = [
            c
            for c in self.captures
            if c["kind"] != "revisit" and self.gives(c) in ("image", "redirect")
        ]
        images = [c for c in originals if self.gives(c) == "image"]
        near = r["refers_to_date"] or r["date"]
        modified = r["status"] != 304
        referred = [c for c in originals if c["url"] == r["refers_to_url"]]
        rounds: list[tuple[list[Row], datetime]] = [
            ([c for c in referred if c["date"] == r["refers_to_date"]], near)
        ]
        if modified and r["digest"] is not None:
            rounds += [
                ([c for c in referred if c["digest"] == r["digest"]], near),
                ([c for c in referred if c["digest"] is None], near),
                ([c for c in images if c["digest"] == r["digest"]], r["date"]),
            ]
        else:
            rounds.append((referred, near))
        if not modified:
            own = [c for c in images if c["url"] == r["url"] and c["date"] <= r["date"]]
            rounds.append((own, r["date"]))
        for choices, at in rounds:
            if choices:
                return self.nearest(choices, at)
        return None

    def take(self, url: str, at: datetime) -> Row | None:
        def good(c: Row) -> bool:
            kind = self.gives(c)
            return self.repeated(c) is not None if kind == "revisit" else kind != "error"

        same_url: Callable[[Row], bool] = lambda c: c["url"] == url  # noqa: E731
        same_surt: Callable[[Row], bool] = lambda c: c["surt"] == surt_key(url)  # noqa: E731
        for wanted in (True, False):
            for same in (same_url, same_surt):
                choices = [c for c in self.captures if good(c) == wanted and same(c)]
                if choices:
                    return self.nearest(choices, at)
        return None

    def resolve(self, url: str, at: datetime | None) -> Row:
        at = at or datetime(1901, 1, 1, tzinfo=UTC)
        for hop in range(6):
            taken = self.take(url, at)
            if taken is None:
                return MISSING | {"drop": "not_archived", "final_url": url if hop else None}
            c = taken
            if self.gives(c) == "revisit":
                c = self.repeated(c) or c
            answer = MISSING | {
                "final_url": c["url"],
                "http_status": c["status"],
                "fetch_date": c["date"],
            }
            kind = self.gives(c)
            if kind == "image":
                return answer | {f"image_{name}": c[name] for name in ("file", "offset", "length")}
            if kind == "revisit":
                return answer | {"drop": "not_archived"}
            if kind == "error":
                return answer | {"drop": self.drop(c["status"])}
            if hop == 5:
                return answer | {"drop": "redirect", "final_url": c["location"]}
            url, at = c["location"], taken["date"]
        raise AssertionError

    @staticmethod
    def drop(status: int) -> str:
        if status == 429:
            return "http_429"
        return {3: "redirect", 4: "http_4xx", 5: "http_5xx"}.get(status // 100, "protocol")


URLS = st.sampled_from(
    [f"{front}{host}/x" for front in ("http://", "https://www.") for host in ("a.org", "b.org")]
)
DAYS = st.integers(0, 6)
DIGESTS = st.sampled_from([None, "sha1:ONE", "sha1:TWO"])


@st.composite
def captures(draw: st.DrawFn) -> Row:
    kind = draw(
        st.sampled_from(
            ["response", "response", "redirect", "redirect", "revisit"] * 2 + ["resource"]
        )
    )
    statuses = {
        "response": [200, 200, 200, 404, 429, 503, 204, 301],
        "redirect": [301, 302],
        "revisit": [200, 200, 304, 304, 302, 404],
        "resource": [200],
    }
    changes: Row = {
        "file": draw(st.sampled_from(["a.warc.gz", "b.warc.gz"])),
        "status": draw(st.sampled_from(statuses[kind])),
        "digest": draw(DIGESTS),
    }
    if kind == "redirect" or (kind == "revisit" and changes["status"] == 302):
        changes["location"] = draw(st.none() | URLS | URLS)
    if kind == "revisit":
        changes["refers_to_url"] = draw(st.none() | URLS)
        if changes["refers_to_url"] is not None:
            changes["refers_to_date"] = draw(st.none() | DAYS.map(day))
    return capture(draw(URLS), draw(DAYS), 0, kind, **changes)


@settings(max_examples=40, deadline=None)
@given(
    made=st.lists(captures(), max_size=25),
    asked=st.lists(st.tuples(URLS, st.none() | DAYS), max_size=8),
    split=st.integers(0, 25),
    rules=st.builds(
        DedupeRules,
        keep_opted_out=st.just(False),
        shard_size=st.integers(1, 5),
        limit=st.none() | st.integers(1, 8),
        seed=st.just(0),
    ),
)
def test_agrees_with_the_reference(
    made: list[Row], asked: list[tuple[str, int | None]], split: int, rules: DedupeRules
) -> None:
    made = [c | {"offset": place * 10} for place, c in enumerate(made)]
    candidates = [candidate(url, at, f"text {n}") for n, (url, at) in enumerate(asked)]
    reference = Reference(made)
    expected = sorted(candidates, key=lambda r: r["uid"])[: rules.limit]
    expected = [r | {"copies": 1} | reference.resolve(r["url"], r["crawl_date"]) for r in expected]
    expected.sort(
        key=lambda r: (
            r["image_file"] is None,
            r["image_file"] or "",
            r["image_offset"] or 0,
            r["uid"],
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        cut = run(Path(folder) / "run", [made[:split], made[split:]], candidates, rules)
        assert read(cut) == expected
        assert cut.over_limit == len(candidates) - len(expected)
        assert all(s.num_candidates == rules.shard_size for s in cut.shards[:-1])


A, B, WWW_A = "http://a.org/x", "http://b.org/x", "https://www.a.org/x"
CHAIN = [f"http://a.org/{hop}" for hop in range(8)]


def chain(num_hops: int) -> list[Row]:
    """Return redirects from the first URL of CHAIN over `num_hops` hops to an image."""
    hops = [
        capture(CHAIN[hop], 0, hop, "redirect", location=CHAIN[hop + 1]) for hop in range(num_hops)
    ]
    return [*hops, capture(CHAIN[num_hops], 0, 99)]


@pytest.mark.parametrize(
    ("index", "url", "offset", "drop"),
    [
        pytest.param([capture(A, 0, 1), capture(A, 2, 2)], A, 1, None, id="tie: the earlier"),
        pytest.param([capture(A, 0, 1), capture(A, 1, 2)], A, 2, None, id="nearest"),
        pytest.param([capture(WWW_A, 1, 1)], A, 1, None, id="by surt"),
        pytest.param([capture(WWW_A, 1, 1), capture(A, 6, 2)], A, 2, None, id="exact before surt"),
        pytest.param([capture(A, 1, 1, status=404), capture(A, 6, 2)], A, 2, None, id="no error"),
        pytest.param([capture(A, 1, 1, status=404)], A, None, "http_4xx", id="404"),
        pytest.param([capture(A, 1, 1, status=429)], A, None, "http_429", id="429"),
        pytest.param([capture(A, 1, 1, status=503)], A, None, "http_5xx", id="503"),
        pytest.param([], A, None, "not_archived", id="nothing"),
        pytest.param(chain(5), CHAIN[0], 99, None, id="five hops"),
        pytest.param(chain(6), CHAIN[0], None, "redirect", id="six hops"),
        pytest.param(
            [
                capture(A, 1, 1, "redirect", location=B),
                capture(B, 1, 2, "redirect", location=A),
            ],
            *(A, None, "redirect"),
            id="loop",
        ),
        pytest.param(
            [capture(A, 1, 1, "redirect", location=B)],
            *(A, None, "not_archived"),
            id="redirect to what is not archived",
        ),
        pytest.param(
            [
                capture(A, 1, 1, "revisit", refers_to_url=B, refers_to_date=day(5), digest="d"),
                capture(B, 1, 2, digest="d"),
                capture(B, 5, 3, digest="d"),
            ],
            *(A, 3, None),
            id="revisit by url and date",
        ),
        pytest.param(
            [capture(A, 1, 1, "revisit", digest="d"), capture(B, 1, 2, digest="d")],
            *(A, 2, None),
            id="revisit by digest",
        ),
        pytest.param(
            [
                capture(A, 1, 1, "revisit", refers_to_url=B, refers_to_date=day(4), digest="d"),
                capture(B, 5, 2, digest="other"),
            ],
            *(A, None, "not_archived"),
            id="revisit of other bytes",
        ),
        pytest.param(
            [
                capture(A, 1, 1, "revisit", digest="d"),
                capture(B, 1, 2, "redirect", digest="d", location=CHAIN[0]),
                capture(WWW_A, 9, 3),
            ],
            *(A, 3, None),
            id="a digest without bytes says nothing, and what is lost gives way",
        ),
        pytest.param(
            [
                capture(A, 5, 1, "redirect", location=B),
                capture(B, 1, 2),
                capture(B, 5, 3),
            ],
            *(A, 3, None),
            id="redirect: nearest to its own date",
        ),
        pytest.param(
            [capture(A, 1, 7), capture(A, 1, 5), capture(A, 1, 6)],
            *(A, 5, None),
            id="same date: least offset",
        ),
        pytest.param(
            [
                capture(A, 3, 1, "revisit", status=304),
                capture(A, 4, 2, status=404),
                capture(B, 2, 3),
            ],
            *(A, None, "not_archived"),
            id="not modified, and nothing before it",
        ),
        pytest.param(
            [capture(A, 0, 1, status=404), capture(A, 1, 2, "revisit", status=304, digest="e")],
            *(A, None, "not_archived"),
            id="not modified since an error",
        ),
    ],
)
def test_one_rule_each(
    tmp_path: Path, index: list[Row], url: str, offset: int | None, drop: str | None
) -> None:
    (found,) = read(run(tmp_path / "run", [index], [candidate(url, 1)], RULES))
    assert (found["image_offset"], found["drop"]) == (offset, drop)
    assert (found["image_file"] is None) == (drop is not None)


def test_not_modified_takes_the_last_before_it(tmp_path: Path) -> None:
    index = [capture(A, 0, 1), capture(A, 2, 2), capture(A, 5, 3, "revisit", status=304)]
    index.append(capture(A, 6, 4))
    (found,) = read(run(tmp_path / "run", [index], [candidate(A, 5)], RULES))
    assert (found["image_offset"], found["http_status"], found["fetch_date"]) == (2, 200, day(2))


def test_texts_of_an_image_are_neighbours(tmp_path: Path) -> None:
    """Rows follow the archive, and those without an image come last."""
    index = [capture(url, 0, 30 - place * 10) for place, url in enumerate((A, B, CHAIN[0]))]
    rows = [candidate(url, 0, f"text {n}") for n in range(3) for url in (A, B, CHAIN[0], CHAIN[1])]
    found = read(run(tmp_path / "run", [index], rows, RULES))
    assert [r["image_offset"] for r in found] == [10] * 3 + [20] * 3 + [30] * 3 + [None] * 3
    assert [r["uid"] for r in found[-3:]] == sorted(r["uid"] for r in rows if r["url"] == CHAIN[1])


def test_an_archive_without_captures(tmp_path: Path) -> None:
    (found,) = read(run(tmp_path / "run", [], [candidate(A, None)], RULES))
    assert found["drop"] == "not_archived"
