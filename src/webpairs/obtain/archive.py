"""Taking images out of crawl files: the payload of the record at a place.

Fast when places come in the order of the file, as the archive join gives them. A record of its
own in the file (`length` > 0) is read directly. In a file that was compressed as a whole
(`length` 0, `offset` in the decompressed stream; see `records`) the stream is read forward; to go
back is to begin again, so it happens only when a place lies before the last one.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Self

from webpairs.crawl.http_message import decode_body
from webpairs.crawl.inputs import open_input
from webpairs.crawl.warc_records import Record, RecordReader
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.obtain.permissions import answer_opt_out

MAX_OPEN_FILES: Final = 16
"""Handles kept open; a shard reads its files one after the other."""
_HEADS_BYTES: Final = 128 << 10
_CODED_FACTOR: Final = 2
"""An image's coded payload may be this much larger than the image: chunk headers, stored blocks."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a record answered, transfer and content codings undone."""

    data: bytes
    status: int
    url: str
    """WARC-Target-URI as written."""
    content_type: str | None
    opt_out: str | None = None
    """The opt-out signal in the answer's headers, as `permissions.answer_opt_out` names it."""


@dataclass(slots=True)
class _Stream:
    """Following a file that can only be read forward."""

    file: BinaryIO
    records: Iterator[Record]
    next_offset: int = 0
    """Records before this one were passed."""


class ArchiveReader:
    """Reader of payloads of the crawl files `paths` (name -> path), at most `max_bytes` each.

    Opt-outs in headers that `ignored_signals` names do not count.
    Not for several threads at once. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        max_bytes: int,
        ignored_signals: frozenset[str] = frozenset(),
    ) -> None:
        self._paths = paths
        self._ignored_signals = ignored_signals
        self._max_bytes = max_bytes
        self._files: OrderedDict[str, BinaryIO] = OrderedDict()
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._wanted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        for file in self._files.values():
            file.close()
        for stream in self._streams.values():
            stream.file.close()
        self._files.clear()
        self._streams.clear()

    def read(self, file: str, offset: int, length: int) -> Payload:
        """Return the payload of the record at a place that the image index named.

        Raises DataError: `archive_broken` when no whole record can be read there, `too_large`
        when it decodes to more than `max_bytes` (decoding stops there). OSError when the file
        is gone. A record that ends early is given as far as it goes; a content coding that breaks
        in a whole record gives nothing, as on the live web.
        """
        try:
            record = self._record(file, offset, length)
        except EOFError as error:
            raise DataError(Drop.ARCHIVE_BROKEN, str(error)) from error
        if record is None:
            raise DataError(Drop.ARCHIVE_BROKEN, f"no record at byte {offset} of {file}")
        if record.http is None:
            if record.kind != "resource":
                raise DataError(Drop.ARCHIVE_BROKEN, f"no HTTP answer at byte {offset} of {file}")
            return self._resource(record)
        body = decode_body(record.http, record.payload, self._max_bytes)
        if body.too_large or len(record.payload) >= self._keep_bytes:
            raise DataError(Drop.TOO_LARGE, f"more than {self._max_bytes} bytes")
        cut = not record.whole or "warc-truncated" in record.headers
        if (not body.data and not body.whole) or (body.coding_broke and not cut):
            coding = record.http.get("content-encoding") or record.http.get("transfer-encoding")
            raise DataError(Drop.ARCHIVE_BROKEN, f"content coding {coding} cannot be undone")
        return Payload(
            data=body.data,
            status=record.http.status,
            url=record.url,
            content_type=record.http.get("content-type"),
            opt_out=answer_opt_out(record.http.headers, self._ignored_signals),
        )

    def _resource(self, record: Record) -> Payload:
        if len(record.payload) > self._max_bytes:
            raise DataError(Drop.TOO_LARGE, f"more than {self._max_bytes} bytes")
        return Payload(record.payload, 200, record.url, record.headers.get("content-type"))

    @property
    def _keep_bytes(self) -> int:
        return _CODED_FACTOR * self._max_bytes + _HEADS_BYTES

    def _keep(self, _: Record) -> int:
        return self._keep_bytes

    def _keep_wanted(self, record: Record) -> int:
        return self._keep_bytes if record.offset == self._wanted else 0

    def _record(self, name: str, offset: int, length: int) -> Record | None:
        if length <= 0:
            return self._forward(name, offset)
        file = self._files.pop(name, None) or self._open(name)
        self._files[name] = file
        if len(self._files) > MAX_OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        file.seek(offset)
        part: BinaryIO = file
        if length <= self._keep_bytes:
            data = file.read(length)
            if not data:
                raise EOFError(f"{name} ends before byte {offset}")
            part = io.BytesIO(data)
        record = next(iter(RecordReader(part, self._keep, offset)), None)
        return record if record is not None and record.offset == offset else None

    def _forward(self, name: str, offset: int) -> Record | None:
        stream = self._streams.pop(name, None)
        if stream is not None and offset < stream.next_offset:
            stream.file.close()
            stream = None
        if stream is None:
            file = self._open(name)
            stream = _Stream(file, iter(RecordReader(file, self._keep_wanted)))
        self._streams[name] = stream
        if len(self._streams) > MAX_OPEN_FILES:
            self._streams.popitem(last=False)[1].file.close()
        self._wanted = offset
        for record in stream.records:
            stream.next_offset = record.offset + 1
            if record.length == 0 and record.offset == offset:
                return record
            if record.length == 0 and record.offset > offset:
                break
        return None

    def _open(self, name: str) -> BinaryIO:
        path = self._paths.get(name)
        if path is None:
            raise DataError(Drop.ARCHIVE_BROKEN, f"{name} is not among the inputs")
        return open_input(path)
