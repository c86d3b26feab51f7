"""A journal gives back what was written whole, whatever was cut off or damaged behind it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.build.journal import JournalEntry, ShardJournal
from webpairs.drops import Drop
from webpairs.obtain.fetcher import Fetched
from webpairs.obtain.received import AnswerWriter, ReceivedAnswers
from webpairs.obtain.url_parts import FetchError

ROWS = pa.schema([("key", pa.string()), ("TEXT", pa.string())])
DROPS = pa.schema([("reason", pa.string())])


def entry(number: int, *, samples: int = 2, dim: int = 4) -> JournalEntry:
    """Return the entry of `samples` samples and one drop; its tar ends at 1,000 times `number`."""
    keys = [f"{number:05}{row:04}" for row in range(samples)]
    return JournalEntry(
        rows=pa.table({"key": keys, "TEXT": [f"text {key}" for key in keys]}, ROWS),
        drops=pa.table({"reason": ["dns"]}, DROPS),
        tar_starts=[1_000 * number + row for row in range(samples)],
        tar_end=1_000 * number,
        drop_numbers=[number],
        embeddings=np.full((2, samples, dim), number, np.float16),
        facts={"image_bytes": number},
    )


def same(one: JournalEntry, other: JournalEntry) -> bool:
    return (
        one.rows.equals(other.rows)
        and one.drops.equals(other.drops)
        and np.array_equal(one.embeddings, other.embeddings)
        and (one.tar_starts, one.tar_end, one.drop_numbers, one.facts)
        == (other.tar_starts, other.tar_end, other.drop_numbers, other.facts)
    )


def write(folder: Path, entries: list[JournalEntry], tar_bytes: int = 1 << 20) -> bytes:
    """Write a journal; return the bytes of its log."""
    with ShardJournal(folder, "these candidates") as journal:
        journal.replay()
        for one in entries:
            journal.append(one)
        journal.tar.write_bytes(bytes(tar_bytes))
    return (folder / "log").read_bytes()


def replayed(folder: Path, identity: str = "these candidates") -> list[JournalEntry]:
    with ShardJournal(folder, identity) as journal:
        return journal.replay()


def test_what_was_written_is_replayed(tmp_path: Path) -> None:
    entries = [entry(1), entry(2, samples=0, dim=0), entry(3, samples=1, dim=7)]
    write(tmp_path / "j", entries)
    for _ in range(2):
        found = replayed(tmp_path / "j")
        assert len(found) == 3
        assert all(map(same, found, entries))


def test_a_journal_of_other_candidates_is_thrown_away(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    write(folder, [entry(1)])
    AnswerWriter(folder / "received").write("http://a.example/", FetchError(Drop.DNS))
    assert replayed(folder, "others") == []
    assert not list((folder / "received").iterdir())
    assert not (folder / "images.tar").exists()
    assert replayed(folder) == [], "nothing of the first is left"


def test_an_entry_whose_tar_is_too_short_is_done_again(tmp_path: Path) -> None:
    """After a power cut the tar may be shorter than an entry says."""
    entries = [entry(1), entry(2), entry(3)]
    write(tmp_path / "j", entries, tar_bytes=2_500)
    assert len(replayed(tmp_path / "j")) == 2


@given(st.data())
def test_damage_costs_a_tail_and_never_gives_wrong_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "j"
    entries = [entry(number) for number in (1, 2, 3)]
    log = bytearray(write(folder, entries))
    where = data.draw(st.integers(0, len(log) - 1))
    if data.draw(st.booleans()):
        del log[where:]
    else:
        log[where] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "log").write_bytes(log)
    found = replayed(folder)
    assert len(found) < 3
    assert all(same(one, other) for one, other in zip(found, entries, strict=False))
    # What was cut off is written again behind what holds.
    with ShardJournal(folder, "these candidates") as journal:
        first = len(journal.replay())
        journal.tar.write_bytes(bytes(1 << 20))
        journal.append(entry(9))
    assert len(again := replayed(folder)) == first + 1
    assert same(again[-1], entry(9))


def answers() -> Iterator[Any]:
    yield Fetched(b"\x89PNG" * 9, 200, "http://b.example/x", 1_716_000_000_123, None, "robots: 404")
    yield Fetched(b"", 203, "http://b.example/", -1, "noai", "", (0.25, 0.5, 0.125))
    yield FetchError(Drop.HTTP_4XX, "404", 404, "http://b.example/gone")
    yield FetchError(Drop.DNS)
    yield FetchError(Drop.REDIRECT, "leads to \ud83d", None, None)


@pytest.mark.parametrize("outcome", list(answers()))
def test_an_answer_is_kept_until_it_is_finished(tmp_path: Path, outcome: Any) -> None:
    url = "http://a.example/ü?x"
    writer = AnswerWriter(tmp_path)
    assert writer.write(url, outcome) == 0
    writer.close()
    assert dict(ReceivedAnswers(tmp_path).replay({"http://a.example/other", url})).keys() == {url}
    received = ReceivedAnswers(tmp_path)
    ((_, found),) = received.replay({url})
    if isinstance(outcome, Fetched):
        assert found == outcome
    else:
        assert isinstance(found, FetchError)
        detail = outcome.detail.encode("utf-8", "replace").decode()
        assert (found.drop, found.detail) == (outcome.drop, detail)
        assert (found.status, found.url) == (outcome.status, outcome.url)
    received.finished(url)
    assert not list(tmp_path.iterdir())


def test_a_file_goes_when_all_its_answers_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webpairs.obtain.received.SEGMENT_BYTES", 2_000)
    writer, received = AnswerWriter(tmp_path), ReceivedAnswers(tmp_path)
    urls = [f"http://a.example/{number}" for number in range(30)]
    for url in urls:
        received.note(url, writer.write(url, Fetched(bytes(500), 200, url, 1, None, "")))
    num_files = len(list(tmp_path.iterdir()))
    assert num_files > 5
    for url in urls[1:]:
        received.finished(url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000", f"{num_files - 1:05}"]
    # Another start takes what is there, and writes to another file.
    again = ReceivedAnswers(tmp_path)
    assert [url for url, _ in again.replay({urls[0]})] == [urls[0]]
    assert AnswerWriter(tmp_path).write(urls[1], FetchError(Drop.DNS)) >= 1
    again.finished(urls[0])
    assert not (tmp_path / "00000").exists()
    writer.close()


def test_damage_costs_answers_and_never_gives_wrong_ones(tmp_path: Path) -> None:
    rng = random.Random(7)
    writer = AnswerWriter(tmp_path)
    truth = {
        url: Fetched(url.encode() * 9, 200, url, 1, None, "")
        for url in (f"http://a.example/{number}" for number in range(4))
    }
    for url, outcome in truth.items():
        writer.write(url, outcome)
    writer.close()
    whole = (tmp_path / "00000").read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        where = rng.randrange(len(whole))
        if rng.random() < 0.5:
            del damaged[where:]
        else:
            damaged[where] ^= 1 << rng.randrange(8)
        (tmp_path / "00000").write_bytes(damaged)
        found = dict(ReceivedAnswers(tmp_path).replay(set(truth)))
        assert len(found) < 4
        assert all(truth[url] == outcome for url, outcome in found.items())
