"""Payloads by place: every layout, in and out of order, broken, too large, many files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.museum_warcs import MUSEUM, answer, record
from warcio.archiveiterator import ArchiveIterator

from webpairs.crawl.inputs import Input
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.extract.page import ExtractRules
from webpairs.extract.unit import extract_unit, plan_units
from webpairs.obtain.archive import MAX_OPEN_FILES, ArchiveReader

DATA = Path(__file__).parents[1] / "data"
RULES = ExtractRules(("alt",), ("src",), 5, ("any",))
NUM = 12
LAYOUTS = ("members", "plain", "whole", "blocks", "pairs")


def picture(number: int) -> bytes:
    return b"\xff\xd8\xff" + bytes([number]) * (1000 + number)


def image_record(number: int) -> bytes:
    url = f"http://example.org/{number}.jpg"
    if number % 3 == 0:
        return record("resource", url, picture(number), Content_Type="image/jpeg")
    headers = {"Content_Type": "image/jpeg"}
    body = picture(number)
    if number % 3 == 1:
        headers["Content_Encoding"] = "gzip"
        body = gzip.compress(body)
    return record("response", url, answer(body, **headers))


def write(path: Path, layout: str, records: list[bytes]) -> None:
    whole = b"".join(records)
    cuts = range(0, len(whole), 777)
    path.write_bytes(
        {
            "members": lambda: b"".join(gzip.compress(one) for one in records),
            "plain": lambda: whole,
            "whole": lambda: gzip.compress(whole),
            "blocks": lambda: b"".join(gzip.compress(whole[i : i + 777]) for i in cuts),
            "pairs": lambda: b"".join(
                gzip.compress(b"".join(records[i : i + 2])) for i in range(0, len(records), 2)
            ),
        }[layout]()
    )


def places(path: Path, folder: Path) -> list[tuple[str, int, int]]:
    """Return (file, offset, length) of every capture, as extract finds them."""
    one = Input(str(path), path.name, "warc", path.stat().st_size)
    (unit,) = plan_units([one], folder, RULES, archive=True)
    extract_unit(unit)
    rows = pq.read_table(str(unit.images_path)).to_pylist()
    return [(row["file"], row["offset"], row["length"]) for row in rows]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_put_in_comes_out(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc"
    write(path, layout, [image_record(number) for number in range(NUM)])
    found = places(path, tmp_path / "out")
    assert len(found) == NUM
    backwards = list(enumerate(found))[::-1]
    forward_with_gaps = list(enumerate(found))[1::3]
    twice = [one for one in enumerate(found) for _ in range(2)]
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        for order in (list(enumerate(found)), forward_with_gaps, backwards, twice):
            for number, place in order:
                payload = reader.read(*place)
                assert payload.data == picture(number)
                assert payload.url == f"http://example.org/{number}.jpg"
                assert (payload.status, payload.content_type) == (200, "image/jpeg")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_too_large(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc"
    bomb = answer(gzip.compress(bytes(1 << 22)), Content_Encoding="gzip")
    records = [
        record("response", "http://example.org/bomb", bomb),
        record("response", "http://example.org/large", answer(bytes(1 << 20))),
        record("resource", "http://example.org/large", bytes(1 << 20)),
        image_record(1),
        image_record(3),
    ]
    write(path, layout, records)
    found = places(path, tmp_path / "out")
    with ArchiveReader({path.name: str(path)}, 5000) as reader:
        for place in found[:3]:
            with pytest.raises(DataError) as error:
                reader.read(*place)
            assert error.value.drop == Drop.TOO_LARGE
        assert reader.read(*found[3]).data == picture(1)
        assert reader.read(*found[4]).data == picture(3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_record_at_this_place(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc"
    write(path, layout, [image_record(number) for number in range(NUM)])
    name, offset, length = places(path, tmp_path / "out")[4]
    with ArchiveReader({name: str(path)}, 1 << 20) as reader:
        for place in (
            (name, offset + 3, length),
            (name, offset - 3, length),
            (name, 1 << 40, length),
            ("other.warc", offset, length),
        ):
            with pytest.raises(DataError) as error:
                reader.read(*place)
            assert error.value.drop == Drop.ARCHIVE_BROKEN
        assert reader.read(name, offset, length).data == picture(4)


def test_file_changed_since_it_was_indexed(tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc.gz"
    write(path, "members", [image_record(number) for number in range(NUM)])
    found = places(path, tmp_path / "out")
    data = bytearray(path.read_bytes())
    data[found[5][1] + found[5][2] // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        with pytest.raises(DataError) as error:
            reader.read(*found[5])
        assert error.value.drop == Drop.ARCHIVE_BROKEN
        assert reader.read(*found[6]).data == picture(6)
    path.unlink()
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader, pytest.raises(OSError):
        reader.read(*found[6])


def test_cut_image_is_given_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc"
    path.write_bytes(image_record(2)[:-500])
    (place,) = places(path, tmp_path / "out")
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        data = reader.read(*place).data
    assert picture(2).startswith(data)
    assert 0 < len(data) < len(picture(2))


@pytest.mark.parametrize("cut", [False, True])
def test_a_coding_that_breaks_is_broken_unless_the_crawler_cut_it(
    cut: bool, tmp_path: Path
) -> None:
    path = tmp_path / "crawl.warc"
    block = answer(gzip.compress(picture(4))[:-9], Content_Encoding="gzip")
    more = {"WARC_Truncated": "length"} if cut else {}
    path.write_bytes(record("response", "http://example.org/a", block, **more))
    (place,) = places(path, tmp_path / "out")
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        if cut:
            assert picture(4).startswith(reader.read(*place).data)
            return
        with pytest.raises(DataError) as error:
            reader.read(*place)
        assert error.value.drop == Drop.ARCHIVE_BROKEN


def test_too_many_codings_and_revisit_are_broken(tmp_path: Path) -> None:
    path = tmp_path / "crawl.warc"
    coded = answer(b"????", Content_Encoding="gzip, br, gzip, br")
    records = [
        record("response", "http://example.org/a", coded),
        record("revisit", "http://example.org/a", b""),
    ]
    path.write_bytes(b"".join(records))
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        for place in places(path, tmp_path / "out"):
            with pytest.raises(DataError) as error:
                reader.read(*place)
            assert error.value.drop == Drop.ARCHIVE_BROKEN


@pytest.mark.parametrize("layout", ["members", "whole"])
def test_more_files_than_are_kept_open(layout: str, tmp_path: Path) -> None:
    paths: dict[str, str] = {}
    asked: list[tuple[int, tuple[str, int, int]]] = []
    for number in range(MAX_OPEN_FILES + 4):
        path = tmp_path / f"{number}.warc.gz"
        write(path, layout, [image_record(number), image_record(number + 1)])
        paths[path.name] = str(path)
        for more, place in enumerate(places(path, tmp_path / "out")):
            asked.append((number + more, place))
    with ArchiveReader(paths, 1 << 20) as reader:
        for number, place in asked[::2] + asked[1::2]:
            assert reader.read(*place).data == picture(number)
        assert len(reader._files) + len(reader._streams) <= MAX_OPEN_FILES


@pytest.mark.parametrize("name", MUSEUM)
def test_museum(name: str, tmp_path: Path) -> None:
    """Whatever extract finds in a broken file can be read, or is a DataError."""
    path = tmp_path / "crawl.warc"
    path.write_bytes(MUSEUM[name].data)
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        for place in places(path, tmp_path / "out"):
            assert reader.read(*place).url.startswith("http://example.org/")


def test_agrees_with_warcio(tmp_path: Path) -> None:
    path = DATA / "cc-2024-22-one-page.warc.gz"
    (place,) = places(path, tmp_path)
    with path.open("rb") as file:
        page = next(one for one in ArchiveIterator(file) if one.rec_type == "response")
        body = page.content_stream().read()
    with ArchiveReader({path.name: str(path)}, 1 << 20) as reader:
        assert reader.read(*place).data == body
