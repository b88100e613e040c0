"""A Wireshark profile of a vehicle: its ISO-TP addresses, the names of what is said, its signals.

A profile is a folder of text files. Preferences say which CAN identifiers carry ISO 15765-2 and
that UDS is above it; tables in CSV name addresses, identifiers, routines and the signals of the
databases. `tshark -C NAME` and Wireshark's lower right corner choose it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cantools.database.can import Message, Signal

from dbc import EcuDescription, VehicleDescription

_EXTENDED_FLAG: Final = 1 << 31
_STANDARD, _EXTENDED = 0x7FF, 0x1FFF_FFFF
_EVERY_ADDRESS: Final = 0xFFFF_FFFF
_ANY_BUS: Final = 0
#: Sizes that a signal's number is kept in.
_SIZES: Final = (8, 16, 32, 64)
_COLUMNS: Final = (
    ("No.", "%m"),
    ("Time", "%t"),
    ("Wire", "%Cus:frame.interface_name:0:R"),
    ("ECU", "%Cus:uds.diag_addr_name:0:R"),
    ("Protocol", "%p"),
    ("Length", "%L"),
    ("Info", "%i"),
)
#: Name, display filter, background and foreground as red, green and blue of 65535.
_COLOURS: Final = (
    ("Error frame", "can.flags.err == 1", (65535, 24000, 24000), (65535, 65535, 65535)),
    (
        "UDS refused",
        "uds.sid == 0x3f && !(uds.err.code == 0x78)",
        (65535, 48000, 48000),
        (20000, 0, 0),
    ),
    ("UDS pending", "uds.sid == 0x3f", (60000, 60000, 60000), (30000, 30000, 30000)),
    ("UDS request", "uds.reply == 0", (56000, 62000, 65535), (0, 10000, 30000)),
    ("UDS answer", "uds.reply == 1", (57000, 65535, 57000), (0, 20000, 0)),
    ("Signals", "signal_pdu", (65535, 65535, 65535), (16000, 16000, 16000)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """File name -> content."""

    files: Mapping[str, str]
    #: Messages, and signals by message and name, that the signal table cannot say.
    left_out: tuple[str, ...]


def profile(vehicle: VehicleDescription, messages: Iterable[Message]) -> Profile:
    """The files for a vehicle and the messages of its databases (a later one of an id wins)."""
    by_id = {(one.frame_id, one.is_extended_frame): one for one in messages}
    told = {key: rows for key, one in by_id.items() if (rows := _layout(one)) is not None}
    left_out = [str(one.name) for key, one in by_id.items() if key not in told]
    left_out += [
        f"{by_id[key].name}.{signal.name}"
        for key, layout in told.items()
        for signal in by_id[key].signals
        if not any(place.signal is signal for place in layout)
    ]
    addresses = _addresses(vehicle)
    known = {key: by_id[key] for key in told}
    return Profile(
        files={
            "preferences": _preferences(vehicle),
            "decode_as_entries": "decode_as_entry: iso15765.subdissector,0,(none),UDS\n",
            "colorfilters": "".join(_colours()),
            "ISO15765_can_id_mappings": _table(_mappings(vehicle)),
            "UDS_diagnostic_addresses": _table((_hex(one), name) for one, name in addresses),
            "DoIP_diagnostic_addresses": _table((_hex(one), name) for one, name in addresses),
            "UDS_data_identifiers": _table(_data_identifiers(vehicle)),
            "UDS_routine_identifiers": _table(_routines(vehicle)),
            "Signal_PDU_identifiers": _table((_key(key), one.name) for key, one in known.items()),
            "Signal_PDU_Binding_CAN": _table(
                (_key(key), _hex(_ANY_BUS), _key(key)) for key in known
            ),
            "Signal_PDU_signal_list": _table(
                row for key, layout in told.items() for row in _signals(key, by_id[key], layout)
            ),
            "Signal_PDU_signal_values": _table(
                row for key, layout in told.items() for row in _values(key, layout)
            ),
        },
        left_out=tuple(sorted(left_out)),
    )


def _preferences(vehicle: VehicleDescription) -> str:
    standard: set[int] = set()
    extended: set[int] = set()
    for identifier in _isotp_identifiers(vehicle):
        (standard if identifier <= _STANDARD else extended).add(identifier)
    columns = ",\n\t".join(f'"{title}", "{what}"' for title, what in _COLUMNS)
    return (
        f"gui.column.format:\n\t{columns}\n"
        f"iso15765.can.ids: {_ranges(standard)}\n"
        f"iso15765.can.extended_ids: {_ranges(extended)}\n"
    )


def _ranges(numbers: set[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def _can_ecus(vehicle: VehicleDescription) -> Iterator[EcuDescription]:
    return (ecu for ecu in vehicle.ecus.values() if vehicle.wires[ecu.wire].kind != "doip")


def _isotp_identifiers(vehicle: VehicleDescription) -> Iterator[int]:
    for ecu in _can_ecus(vehicle):
        yield from (ecu.request_id, ecu.response_id)
    yield from (wire.functional_id for wire in vehicle.wires.values() if wire.kind != "doip")


def _mappings(vehicle: VehicleDescription) -> Iterator[tuple[str, ...]]:
    """Each identifier is an ECU's address by itself."""
    for identifier in dict.fromkeys(_isotp_identifiers(vehicle)):
        extended = identifier > _STANDARD
        mask = _EXTENDED if extended else _STANDARD
        flag = "TRUE" if extended else "FALSE"
        yield flag, _hex(identifier), _hex(mask), _hex(0), _hex(0), _hex(mask)


def _own_addresses(vehicle: VehicleDescription, ecu: EcuDescription) -> tuple[int, ...]:
    """What Wireshark knows an ECU by: identifiers on CAN, the logical address anywhere."""
    if vehicle.wires[ecu.wire].kind == "doip":
        return (ecu.logical_address,)
    return (ecu.request_id, ecu.response_id, ecu.logical_address)


def _addresses(vehicle: VehicleDescription) -> list[tuple[int, str]]:
    found = {
        address: ecu.name
        for ecu in vehicle.ecus.values()
        for address in _own_addresses(vehicle, ecu)
    }
    found |= {wire.functional_id: "all ECUs" for wire in vehicle.wires.values()}
    found[vehicle.tester_address] = "tester"
    return sorted(found.items())


def _data_identifiers(vehicle: VehicleDescription) -> Iterator[tuple[str, ...]]:
    for ecu in vehicle.ecus.values():
        for address in _own_addresses(vehicle, ecu):
            for number, name in sorted(ecu.data_identifiers.items()):
                yield _hex(address), _hex(number), name


def _routines(vehicle: VehicleDescription) -> Iterator[tuple[str, ...]]:
    for name in vehicle.routines.__slots__:
        number = getattr(vehicle.routines, name)
        yield _hex(_EVERY_ADDRESS), _hex(number), name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class _Place:
    """A signal, or bits that no signal has, in the order of the bits."""

    bits: int
    signal: Signal | None = None


def _layout(message: Message) -> Sequence[_Place] | None:
    """A message's bits without a gap; None for what the table has no way to say."""
    orders = {signal.byte_order for signal in message.signals}
    if message.is_multiplexed() or len(orders) > 1 or not message.signals:
        return None
    places: list[_Place] = []
    at = 0
    for signal in sorted(message.signals, key=_start):
        start = _start(signal)
        if start < at or signal.length > _SIZES[-1]:
            return None
        places += _gap(start - at)
        # Signed numbers have whole sizes there.
        sayable = signal.length in _SIZES or not (signal.is_signed or signal.is_float)
        places.append(_Place(signal.length, signal if sayable else None))
        at = start + signal.length
    return [*places, *_gap(message.length * 8 - at)]


def _start(signal: Signal) -> int:
    """The first bit, counted in the order in which the signals follow each other."""
    start = int(signal.start)
    return start if signal.byte_order == "little_endian" else start // 8 * 8 + 7 - start % 8


def _gap(bits: int) -> Iterator[_Place]:
    while bits > 0:
        yield _Place(min(bits, _SIZES[-1]))
        bits -= _SIZES[-1]


def _signals(
    key: tuple[int, bool], message: Message, layout: Sequence[_Place]
) -> Iterator[tuple[str, ...]]:
    big = "TRUE" if message.signals[0].byte_order == "big_endian" else "FALSE"
    for number, place in enumerate(layout):
        signal = place.signal
        name = f"unused{number}" if signal is None else str(signal.name)
        unit = f" ({signal.unit})" if signal is not None and signal.unit else ""
        scale, offset = (1, 0) if signal is None else (signal.scale, signal.offset)
        kind = "uint"
        if signal is not None and (signal.is_signed or signal.is_float):
            kind = "float" if signal.is_float else "int"
        size = next(size for size in _SIZES if size >= place.bits)
        hidden = "TRUE" if signal is None else "FALSE"
        yield (
            *(_key(key), str(len(layout)), str(number)),
            *(f"{name}{unit}", f"{message.name}.{name}"),
            *(kind, big, str(size), str(place.bits), str(scale), str(offset)),
            *("FALSE", "-1", hidden, "FALSE", "FALSE", "FALSE"),
        )


def _values(key: tuple[int, bool], layout: Sequence[_Place]) -> Iterator[tuple[str, ...]]:
    for number, place in enumerate(layout):
        signal = place.signal
        named = {} if signal is None else dict(signal.choices or {})
        choices = [(value, text) for value, text in sorted(named.items()) if value >= 0]
        for value, text in choices:
            word = f"{value:X}"
            yield _key(key), str(number), str(len(choices)), word, word, str(text)


def _colours() -> Iterator[str]:
    for name, display_filter, background, foreground in _COLOURS:
        parts = (f"[{','.join(map(str, colour))}]" for colour in (background, foreground))
        yield f"@{name}@{display_filter}@{''.join(parts)}\n"


def _key(key: tuple[int, bool]) -> str:
    frame_id, extended = key
    return _hex(frame_id | (_EXTENDED_FLAG if extended else 0))


def _hex(number: int) -> str:
    return f"{number:08X}"


def _table(rows: Iterable[Sequence[object]]) -> str:
    return "".join(",".join(map(_quoted, row)) + "\n" for row in rows)


def _quoted(value: object) -> str:
    """A field of Wireshark's tables: quotes, backslashes and what is not ASCII by their codes."""
    escaped = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in str(value).encode()
    )
    return f'"{escaped}"'
