"""Records of a write-ahead log: each with its length and checksums, so that what is whole can be told from what is not.

A frame is ``magic | kind | length | checksum of the payload | checksum of this head | payload``. A process that is killed
leaves at most a torn frame at the end. Where a disk has damaged one in the middle, the next whole frame is looked for:
what lies behind the damage is not lost.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\xf5PW\x01"
_HEAD = struct.Struct("<4scxxxII")
_CHECK = struct.Struct("<I")
HEAD = _HEAD.size + _CHECK.size
"""Bytes before the payload."""


@dataclass(frozen=True)
class Frame:
    """A whole record."""

    offset: int
    kind: bytes
    payload: bytes


@dataclass(frozen=True)
class Damage:
    """Bytes that are no whole record."""

    offset: int
    size: int
    index: int
    """How many whole frames lie before it."""
    torn: bool
    """Whether it is the end that a crash leaves: a record cut short, or zeros that a disk never filled."""


def encode(kind: bytes, payload: bytes) -> bytes:
    """Return one frame; ``kind`` is a single byte."""
    head = _HEAD.pack(MAGIC, kind, len(payload), zlib.crc32(payload))
    return head + _CHECK.pack(zlib.crc32(head)) + payload


def scan(data: bytes) -> Iterator[Frame | Damage]:
    """Yield the frames of a file in order, and where there is something else."""
    place = index = 0
    while place < len(data):
        frame = _frame_at(data, place)
        if frame is None:
            following = _next_whole(data, place + 1)
            torn = following == len(data) and _is_torn(data, place)
            yield Damage(place, following - place, index, torn)
            place = following
            continue
        yield frame
        index += 1
        place += HEAD + len(frame.payload)


def _frame_at(data: bytes, place: int) -> Frame | None:
    if place + HEAD > len(data) or data[place : place + 4] != MAGIC:
        return None
    head = data[place : place + _HEAD.size]
    if _CHECK.unpack_from(data, place + _HEAD.size)[0] != zlib.crc32(head):
        return None
    _, kind, length, checksum = _HEAD.unpack(head)
    payload = data[place + HEAD : place + HEAD + length]
    if len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return Frame(place, kind, payload)


def _is_torn(data: bytes, place: int) -> bool:
    """Tell a record that a crash cut short from a whole one that was changed: only the first may be dropped."""
    rest = len(data) - place
    if not any(memoryview(data)[place:]):
        return True
    if rest < HEAD:
        return data[place : place + 4] == MAGIC[:rest]
    head = data[place : place + _HEAD.size]
    if head[:4] != MAGIC or _CHECK.unpack_from(data, place + _HEAD.size)[0] != zlib.crc32(head):
        return False
    return rest < HEAD + int(_HEAD.unpack(head)[2])


def _next_whole(data: bytes, start: int) -> int:
    place = data.find(MAGIC, start)
    while place >= 0 and _frame_at(data, place) is None:
        place = data.find(MAGIC, place + 1)
    return place if place >= 0 else len(data)
