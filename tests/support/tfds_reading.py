"""Read TFDS folders with nothing of ours and nothing of TensorFlow's: frames, checksums, messages.

TFRecord: length (u64), masked crc32c of it, record, masked crc32c of that. A record is a protobuf
message tf.train.Example; a feature is a list of byte strings, of floats or of integers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


def _table() -> list[int]:
    table: list[int] = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def unmasked(crc: int) -> int:
    rotated = (crc - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated << 15 | rotated >> 17) & 0xFFFFFFFF


def read_tfrecord(data: bytes) -> Iterator[bytes]:
    """Yield the records; raise AssertionError where anything is not as it must be."""
    place = 0
    while place < len(data):
        length_bytes = data[place : place + 8]
        (length,) = struct.unpack("<Q", length_bytes)
        (length_crc,) = struct.unpack_from("<I", data, place + 8)
        assert unmasked(length_crc) == crc32c(length_bytes)
        record = data[place + 12 : place + 12 + length]
        assert len(record) == length
        (record_crc,) = struct.unpack_from("<I", data, place + 12 + length)
        assert unmasked(record_crc) == crc32c(record)
        yield record
        place += 16 + length
    assert place == len(data)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if not byte & 0x80:
            return value, place


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield fields that have a length; there are no others in an Example."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        assert tag & 7 == 2
        length, place = _varint(data, place)
        assert place + length <= len(data)
        yield tag >> 3, data[place : place + length]
        place += length


def read_example(record: bytes) -> dict[str, list[Any]]:
    """Return the lists of a tf.train.Example by name."""
    values: dict[str, list[Any]] = {}
    ((number, features),) = _fields(record)
    assert number == 1
    for number, entry in _fields(features):
        assert number == 1
        (one, key), (two, feature) = _fields(entry)
        assert (one, two) == (1, 2)
        ((kind, items),) = _fields(feature)
        name = key.decode()
        assert name not in values
        if kind == 1:
            values[name] = [item for _, item in _fields(items)]
            continue
        ((number, packed),) = _fields(items)
        assert number == 1
        if kind == 2:
            values[name] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
        else:
            assert kind == 3
            place, integers = 0, []
            while place < len(packed):
                value, place = _varint(packed, place)
                integers.append(value - (1 << 64) if value >> 63 else value)
            values[name] = integers
    return values


def read_dataset(folder: Path) -> list[dict[str, Any]]:
    """Return the samples of a config, as `features.json` declares them, in the order of the files.

    Checks that file names, shard lengths and numbers of bytes are as `dataset_info.json` says.
    """
    info = json.loads((folder / "dataset_info.json").read_bytes())
    declared = json.loads((folder / "features.json").read_bytes())["featuresDict"]["features"]
    (split,) = info["splits"]
    assert split["filepathTemplate"] == "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    lengths = split["shardLengths"]
    kind = info["fileFormat"]
    stem = f"{info['name']}-{split['name']}.{kind}-"
    names = [f"{stem}{number:05d}-of-{len(lengths):05d}" for number in range(len(lengths))]
    assert sorted(path.name for path in folder.glob(f"*.{kind}-*")) == names
    samples: list[dict[str, Any]] = []
    num_bytes = 0
    for name, length in zip(names, lengths, strict=True):
        records = _records(folder / name, kind)
        assert length == str(len(records))
        num_bytes += sum(map(len, records))
        samples += [_sample(read_example(record), declared) for record in records]
    assert split["numBytes"] == str(num_bytes)
    return samples


def _records(path: Path, kind: str) -> list[bytes]:
    if kind == "tfrecord":
        return list(read_tfrecord(path.read_bytes()))
    from array_record.python.array_record_module import ArrayRecordReader

    return list(ArrayRecordReader(str(path)).read_all())


def _sample(values: dict[str, list[Any]], declared: dict[str, Any]) -> dict[str, Any]:
    assert values.keys() == declared.keys()
    return {name: _value(values[name], declared[name]) for name in declared}


def _value(value: list[Any], declared: dict[str, Any]) -> Any:
    kind = declared["pythonClassName"].rsplit(".", 1)[1]
    if kind == "Text":
        return value[0].decode()
    if kind in ("Image", "ClassLabel"):
        (only,) = value
        return only
    tensor = declared["tensor"]
    shape = [int(size) for size in tensor["shape"].get("dimensions", ())]
    if tensor["encoding"] == "bytes":
        (data,) = value
        array = np.frombuffer(data, tensor["dtype"])
    else:
        array = np.array(value, tensor["dtype"])
    return array.reshape(shape) if shape else array.reshape(1)[0].item()
