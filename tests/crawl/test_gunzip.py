"""Gunzip: sound files as gzip has them, broken ones as far as they go."""

from __future__ import annotations

import gzip
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.crawl.gunzip import GunzipReader

# Text that does not compress well, so that members are longer than a salvage step.
RECORDS = [random.Random(number).randbytes(700).hex().encode() for number in range(12)]
MEMBERS = [gzip.compress(record, mtime=0) for record in RECORDS]


def read(data: bytes, block: int = 1000) -> tuple[bytes, GunzipReader]:
    reader = GunzipReader(io.BytesIO(data))
    buffer = memoryview(bytearray(block))
    content = b""
    while num := reader.readinto(buffer):
        content += buffer[:num]
    return content, reader


@pytest.mark.parametrize("block", [1, 777, 1 << 20])
def test_members_are_one_stream(block: int) -> None:
    content, reader = read(b"".join(MEMBERS), block)
    assert content == b"".join(RECORDS)
    assert (reader.num_broken, reader.cut) == (0, False)


def test_a_plain_file_is_itself() -> None:
    assert read(RECORDS[0])[0] == RECORDS[0]
    assert read(b"")[0] == b""


def test_zeros_behind_the_end_are_no_fault() -> None:
    content, reader = read(b"".join(MEMBERS) + bytes(600))
    assert content == b"".join(RECORDS)
    assert (reader.num_broken, reader.cut) == (0, False)


def test_cut_anywhere_gives_a_beginning() -> None:
    whole = b"".join(MEMBERS)
    ends = {sum(map(len, MEMBERS[:num])) for num in range(len(MEMBERS) + 1)}
    for size in (*range(2, len(whole), 97), *ends):
        content, reader = read(whole[:size])
        assert b"".join(RECORDS).startswith(content)
        assert reader.cut == (size not in ends)
        num_whole = sum(end <= size for end in ends) - 1
        assert len(content) >= sum(map(len, RECORDS[:num_whole]))


def test_a_damaged_member_costs_itself_alone() -> None:
    for number in range(1, len(MEMBERS)):
        for at in (1, 5, 400, len(MEMBERS[number]) - 6):
            damaged = bytearray(MEMBERS[number])
            damaged[at] ^= 0x55
            members = [*MEMBERS[:number], bytes(damaged), *MEMBERS[number + 1 :]]
            content, reader = read(b"".join(members))
            assert content.startswith(b"".join(RECORDS[:number]))
            assert content.endswith(b"".join(RECORDS[number + 1 :]))
            assert reader.num_broken == (at != 5)  # byte 5 is part of the time


def test_what_a_damaged_member_still_holds_is_given() -> None:
    damaged = bytearray(MEMBERS[0])
    damaged[-6] ^= 0x55  # its checksum
    content, _ = read(bytes(damaged))
    assert RECORDS[0].startswith(content)
    assert len(content) > len(RECORDS[0]) // 2


def test_garbage_between_members_is_passed_over() -> None:
    content, reader = read(MEMBERS[0] + b"garbage" + MEMBERS[1])
    assert content == RECORDS[0] + RECORDS[1]
    assert reader.num_broken == 1


@given(st.binary(), st.integers(0, 5000), st.binary(max_size=300))
def test_never_raises(head: bytes, at: int, noise: bytes) -> None:
    whole = b"".join(MEMBERS[:3])
    read(head)
    read(b"\x1f\x8b\x08" + head)
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    assert read(damaged)[0] == read(damaged, block=77)[0]


def test_a_file_that_inflates_to_more_than_any_crawl_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webpairs.crawl.gunzip.RATIO_SLACK_BYTES", 1 << 20)
    content, reader = read(gzip.compress(bytes(64 << 20), 9), 1 << 16)
    assert len(content) < 40 << 20
    assert reader.num_broken == 1
    sound, reader = read(b"".join(MEMBERS), 1000)
    assert (sound, reader.num_broken) == (b"".join(RECORDS), 0)
