import pytest

from protocols.firmware import she
from protocols.firmware.she import Update, UpdateError

#: The example that the specification and the makers of chips print: a key for slot 4 of chip 1.
MASTER = bytes(range(16))
UPDATE = Update(
    uid=bytes(14) + b"\x01",
    slot=4,
    authenticated_by=1,
    counter=1,
    value=bytes(reversed(range(16))),
)
M1 = "00000000000000000000000000000141"
M2 = "2b111e2d93f486566bcbba1d7f7a9797c94643b050fc5d4d7de14cff682203c3"
M3 = "b9d745e5ace7d41860bc63c2b9f5bb46"


def test_an_update_is_the_one_in_the_published_example() -> None:
    assert she.encode(UPDATE, MASTER).hex() == M1 + M2 + M3
    assert she.decode(bytes.fromhex(M1 + M2 + M3), MASTER) == UPDATE


def test_no_bit_may_change_and_no_other_key_opens_it() -> None:
    message = she.encode(UPDATE, MASTER)
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UpdateError, match="M3 is wrong"):
            she.decode(bytes(changed), MASTER)
    with pytest.raises(UpdateError, match="M3 is wrong"):
        she.decode(message, bytes(16))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_message_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(UpdateError, match=f"{length} bytes are not 64"):
        she.decode(bytes(length), MASTER)


@pytest.mark.parametrize(
    ("counter", "flags", "slot"), [(1 << 28, 0, 0), (-1, 0, 0), (0, 32, 0), (0, 0, 16)]
)
def test_a_field_that_does_not_fit_is_refused(counter: int, flags: int, slot: int) -> None:
    with pytest.raises(UpdateError, match="does not fit"):
        she.encode(
            Update(slot=slot, authenticated_by=1, counter=counter, flags=flags, value=bytes(16)),
            MASTER,
        )


def test_counter_and_flags_use_their_bits_to_the_end() -> None:
    update = Update(
        slot=15, authenticated_by=15, counter=she.MAX_COUNTER, flags=31, value=bytes(16)
    )
    assert she.decode(she.encode(update, MASTER), MASTER) == update
