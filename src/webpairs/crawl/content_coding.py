"""Undoing the content codings of HTTP bodies: gzip, deflate, brotli and zstd, in layers.

The layers are a chain of generators. Each takes pieces of at most STEP_BYTES and gives pieces of at
most PIECE_BYTES, so that nothing but the last layer's result is ever held whole, and the time is
linear in the bytes that come in and go out. Three bounds hold whatever a server sends:

- MAX_CODINGS layers (curl refuses more than 5, urllib3 more than 5; real servers send one);
- `max_bytes` of the result, and ALL_LAYERS times as much of all layers together;
- a clock, where the caller has one.

A header that names a coding does not prove that the body is coded: archives keep the headers of
bodies that they stored decoded, and servers set the header on files of another kind. So each layer
looks at how its bytes begin. A name that is not a coding (`aws-chunked`, `binary`, `utf-8`) leaves
the body alone, as the Fetch standard asks ("handle content codings").
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import brotli
from backports import zstd

from webpairs.image.sniff import sniff

MAX_CODINGS: Final = 3
"""Layers that are undone; a body that names more is refused unread."""
ALL_LAYERS: Final = 2
"""All layers together may give this many times what the result may have."""
STEP_BYTES: Final = 16 << 10
"""Coded bytes fed at once: what a library copies of them each time it is called is bounded."""
PIECE_BYTES: Final = 256 << 10
MAX_WINDOW_LOG: Final = 23
"""Zstandard windows of 8 MB: the limit of the content coding (RFC 9659, 3)."""

_SLACK_BYTES: Final = 1 << 20
_COST_BYTES: Final = 1 << 10
"""What a gzip member or zstd frame counts for at least: each takes some 10 us, also when empty."""
_LOOK_BYTES: Final = 4 << 10
_SALVAGE_BYTES: Final = 256
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15
_PLAIN_KINDS: Final = frozenset(("jpeg", "png", "webp", "gif", "html", "svg", "xml", "pdf"))
"""Kinds with signatures too long to stand at the start of a coded body by chance."""
_TEXT_CONTROLS: Final = b"\t\n\f\r"


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body: `whole` unless a coding broke or ended early, `too_large` when cut."""

    data: bytes
    whole: bool = True
    too_large: bool = False
    too_slow: bool = False
    """The clock ran out."""
    coding_broke: bool = False
    """A content coding broke or ended early, although all that was sent is there."""


class _Broken(Exception):
    """A coding that breaks or ends early."""


class _TooLarge(Exception):
    """More bytes than all layers together may give."""


class _TooSlow(Exception):
    """More time than there is."""


class _Account:
    """What all layers of one body may still give, and until when."""

    def __init__(self, max_bytes: int, until_s: float | None) -> None:
        self._left = max_bytes
        self._until_s = until_s

    def charge(self, num_bytes: int) -> None:
        """Count bytes that a layer gave; raise `_TooLarge` or `_TooSlow` beyond a bound."""
        self._left -= num_bytes
        if self._left < 0:
            raise _TooLarge
        if self._until_s is not None and time.monotonic() > self._until_s:
            raise _TooSlow


def coding_names(values: Iterable[str]) -> list[str]:
    """Return the codings that header values name, in the order in which they were applied.

    Lists of one value and several values are one list (RFC 9110, 5.3). Quotes, parameters, case
    and empty elements do not count, nor do names that are not a coding which can be undone.
    """
    tokens = (token for value in values for token in value.split(","))
    names = (token.partition(";")[0].strip("\"' \t").lower() for token in tokens)
    return [name for name in names if name in _UNDO]


def undo_codings(
    names: list[str], raw: bytes, max_bytes: int, until_s: float | None = None
) -> Body:
    """Undo `names` (as `coding_names` gives them), the last one first; never raises.

    At most `max_bytes` come out. `until_s` is a moment of `time.monotonic`. What is not coded as
    said is taken as it is; a coding that breaks half-way gives what came before.
    """
    if len(names) > MAX_CODINGS:
        return Body(b"", whole=False, coding_broke=True)
    account = _Account(ALL_LAYERS * max_bytes + _SLACK_BYTES, until_s)
    pieces = _steps(raw)
    for name in reversed(names):
        pieces = _UNDO[name](pieces, account)
    result = io.BytesIO()
    num_bytes = 0
    whole = too_large = too_slow = False
    try:
        for piece in pieces:
            num_bytes += len(piece)
            result.write(piece)
            if num_bytes > max_bytes:
                result.truncate(max_bytes)
                too_large = True
                break
        whole = True
    except _Broken:
        pass
    except _TooLarge:
        too_large = True
    except _TooSlow:
        too_slow = True
    broke = not (whole or too_large or too_slow)
    return Body(result.getvalue(), whole or too_large, too_large, too_slow, broke)


def _steps(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), STEP_BYTES):
        yield data[start : start + STEP_BYTES]


def _split(piece: bytes) -> Iterable[bytes]:
    """Return a piece as steps: what one layer gives may be more than the next one is fed."""
    return (piece,) if len(piece) <= STEP_BYTES else _steps(piece)


def _look(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return how a stream begins, and the stream from its beginning.

    What breaks the stream so early breaks it for whoever reads on.
    """
    first: list[bytes] = []
    num_bytes = 0
    broken: _Broken | None = None
    try:
        while num_bytes < _LOOK_BYTES and (piece := next(pieces, None)) is not None:
            first.append(piece)
            num_bytes += len(piece)
    except _Broken as error:
        broken = error
    return b"".join(first), chain(first, pieces if broken is None else _raising(broken))


def _raising(error: Exception) -> Iterator[bytes]:
    yield b""
    raise error


Pieces = Iterator[bytes]
_Layer = Callable[[Pieces, _Account], Pieces]


def _undo_gzip(pieces: Pieces, account: _Account) -> Pieces:
    start, pieces = _look(pieces)
    if not start.startswith(_GZIP_MAGIC[: max(2, min(3, len(start)))]):
        yield from pieces
        return
    yield from _inflate(pieces, _GZIP, account)


def _undo_deflate(pieces: Pieces, account: _Account) -> Pieces:
    # "deflate" is zlib by the standard (RFC 9110, 8.4.1.2), raw deflate by some servers.
    start, pieces = _look(pieces)
    for wbits in (_ZLIB, _RAW):
        if _begins(start, lambda one, wbits=wbits: _inflate(one, wbits, _Account(1 << 24, None))):
            yield from _inflate(pieces, wbits, account)
            return
    yield from pieces


def _undo_brotli(pieces: Pieces, account: _Account) -> Pieces:
    start, pieces = _look(pieces)
    begins = _begins(start, lambda one: _unbrotli(one, _Account(1 << 24, None)))
    yield from _unbrotli(pieces, account) if begins else pieces


def _undo_zstd(pieces: Pieces, account: _Account) -> Pieces:
    start, pieces = _look(pieces)
    yield from _unzstd(pieces, account) if _begins_zstd(start) else pieces


def _begins(start: bytes, undo: Callable[[Pieces], Pieces]) -> bool:
    """Tell whether `start` begins a coding that has no signature, by trying.

    Coded data that is cut or breaks later gives something first, as plain data can by chance: then
    what is a known kind of file, or text, is plain.
    """
    if not start or sniff(start) in _PLAIN_KINDS:
        return False
    if start.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"<"):
        # Markup that `sniff` cannot name. Encoders do not begin so: brotli's with an empty
        # metadata block, deflate's with a dynamic block of 30 literal codes.
        return not _fails(start, undo)[0]
    fails, gave = _fails(start, undo)
    return not fails or (gave and sniff(start) is None and not _is_text(start))


def _fails(start: bytes, undo: Callable[[Pieces], Pieces]) -> tuple[bool, bool]:
    """Return whether the coding breaks within `start`, and whether it gave anything."""
    gave = False
    whole = False

    def feed() -> Pieces:
        nonlocal whole
        for at in range(0, len(start), _SALVAGE_BYTES):
            yield start[at : at + _SALVAGE_BYTES]
        whole = True

    try:
        for piece in undo(feed()):
            gave = gave or bool(piece)
    except _Broken:
        return not whole, gave  # whole: it lacks only what stands behind `start`
    except _TooLarge:
        return False, True
    return False, gave


def _is_text(start: bytes) -> bool:
    try:
        start[:_SALVAGE_BYTES].decode()
    except UnicodeDecodeError as error:
        if error.end < min(len(start), _SALVAGE_BYTES) - 3:  # not the cut of a last character
            return False
    return all(byte >= 0x20 or byte in _TEXT_CONTROLS for byte in start[:_SALVAGE_BYTES])


def _inflate(pieces: Pieces, wbits: int, account: _Account) -> Pieces:
    """Inflate a stream; of gzip every member.

    zlib gives nothing of a call that fails: then the step is inflated again in small ones.
    """
    inflater = zlib.decompressobj(wbits)
    for piece in pieces:
        for step in _split(piece):
            rest, full = step, False
            while rest or full:
                before = inflater.copy()
                try:
                    data = inflater.decompress(rest, PIECE_BYTES)
                except zlib.error as error:
                    yield from _salvage(before, rest, account)
                    raise _Broken from error
                account.charge(len(data))
                yield data
                full = len(data) == PIECE_BYTES
                if not inflater.eof:
                    rest = inflater.unconsumed_tail
                    continue
                rest, full = inflater.unused_data, False
                if wbits != _GZIP:
                    return
                if not rest and (rest := _next_bytes(pieces)) is None:
                    return
                if not rest.startswith(_GZIP_MAGIC[: len(rest)]):
                    return  # padding, or what servers append
                account.charge(_COST_BYTES)
                inflater = zlib.decompressobj(wbits)
    raise _Broken


def _next_bytes(pieces: Pieces) -> bytes | None:
    return next((piece for piece in pieces if piece), None)


def _salvage(inflater: zlib._Decompress, data: bytes, account: _Account) -> Pieces:  # pyright: ignore[reportPrivateUsage]
    for at in range(0, len(data), _SALVAGE_BYTES):
        try:
            piece = inflater.decompress(data[at : at + _SALVAGE_BYTES], PIECE_BYTES)
        except zlib.error:
            return
        account.charge(len(piece))
        yield piece


def _unbrotli(pieces: Pieces, account: _Account) -> Pieces:
    decoder = brotli.Decompressor()
    for piece in pieces:
        for step in _split(piece):
            rest = step
            while True:
                try:
                    data = decoder.process(rest, output_buffer_limit=PIECE_BYTES)
                except brotli.error as error:
                    raise _Broken from error
                account.charge(len(data))
                yield data
                if decoder.is_finished():
                    return
                if decoder.can_accept_more_data():
                    break
                rest = b""
    raise _Broken


def _begins_zstd(data: bytes) -> bool:
    """Tell a frame, or a skippable one before it (RFC 8878, 3.1)."""
    return data.startswith(_ZSTD_MAGIC) or (
        data[1:4] == b"\x2a\x4d\x18" and 0x50 <= data[0] <= 0x5F
    )


def _unzstd(pieces: Pieces, account: _Account) -> Pieces:
    """Decode every frame of a stream."""
    options = {int(zstd.DecompressionParameter.window_log_max): MAX_WINDOW_LOG}
    decoder = zstd.ZstdDecompressor(options=options)
    begun = False
    for piece in pieces:
        for step in _split(piece):
            rest = step
            while rest or not (decoder.needs_input or decoder.eof):
                if decoder.eof:
                    if not _begins_zstd(rest) and len(rest) >= 4:
                        return
                    account.charge(_COST_BYTES)
                    decoder = zstd.ZstdDecompressor(options=options)
                begun = True
                try:
                    data = decoder.decompress(rest, PIECE_BYTES)
                except zstd.ZstdError as error:
                    raise _Broken from error
                account.charge(len(data))
                yield data
                rest = decoder.unused_data if decoder.eof else b""
    if not begun or not decoder.eof:
        raise _Broken


_UNDO: Final[dict[str, _Layer]] = {
    "gzip": _undo_gzip,
    "x-gzip": _undo_gzip,
    "deflate": _undo_deflate,
    "br": _undo_brotli,
    "zstd": _undo_zstd,
}
