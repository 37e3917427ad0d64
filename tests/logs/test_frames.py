"""What is whole is told from what is not, wherever a file was cut or changed."""

from __future__ import annotations

import pytest

from fpo_pilot.logs.frames import HEAD, Damage, Frame, encode, scan

PAYLOADS = (b"first", b"", b"the third, which is longer", b"last")
DATA = b"".join(encode(b"R", payload) for payload in PAYLOADS)
STARTS = [sum(HEAD + len(payload) for payload in PAYLOADS[:i]) for i in range(len(PAYLOADS) + 1)]


def whole(data: bytes) -> list[bytes]:
    return [one.payload for one in scan(data) if isinstance(one, Frame)]


def damages(data: bytes) -> list[Damage]:
    return [one for one in scan(data) if isinstance(one, Damage)]


def test_what_was_encoded_is_scanned() -> None:
    assert whole(DATA) == list(PAYLOADS)
    assert damages(DATA) == []
    assert [one.offset for one in scan(DATA)] == STARTS[:-1]


def test_cut_at_any_byte_it_gives_what_lies_whole_before_and_calls_the_rest_torn() -> None:
    for cut in range(len(DATA)):
        complete = sum(end <= cut for end in STARTS[1:])
        assert whole(DATA[:cut]) == list(PAYLOADS[:complete])
        left = cut - STARTS[complete]
        assert damages(DATA[:cut]) == ([Damage(STARTS[complete], left, complete, torn=True)] if left else [])


def test_a_changed_bit_costs_its_own_record_only_and_is_never_called_torn() -> None:
    for bit in range(8 * len(DATA)):
        changed = bytearray(DATA)
        changed[bit // 8] ^= 1 << bit % 8
        hit = sum(start <= bit // 8 for start in STARTS[1:])
        assert whole(bytes(changed)) == [payload for i, payload in enumerate(PAYLOADS) if i != hit]
        (damage,) = damages(bytes(changed))
        assert (damage.offset, damage.index, damage.torn) == (STARTS[hit], hit, False)


@pytest.mark.parametrize("zeros", [1, 40, 4096])
def test_zeros_that_a_disk_never_filled_are_a_torn_end(zeros: int) -> None:
    assert whole(DATA + bytes(zeros)) == list(PAYLOADS)
    assert [one.torn for one in damages(DATA + bytes(zeros))] == [True]
