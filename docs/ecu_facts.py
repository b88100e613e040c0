"""What a tester has to know of an ECU besides its messages: addresses, timing, locks, memory."""

from collections.abc import Callable, Iterator
from typing import Final

from docs.message_words import bits
from docs.tables import table
from ecu_sim.descriptions.messages import status_byte
from ecu_sim.descriptions.records import group_texts
from ecu_sim.diagnostics.security import AttemptLimits
from ecu_sim.diagnostics.server import PENDING_MARGIN
from ecu_sim.ecus import WIRES, CanAddress, EcuType
from ecu_sim.edge_node import FUNCTIONAL_ADDRESS, LOGICAL_ADDRESS
from ecu_sim.program import STEP_S, dtc_definitions
from protocols.doip.settings import TESTER_ADDRESSES, EntitySettings
from protocols.editions import IsoTpEdition, UdsEdition
from protocols.isotp import IsoTpParameters
from protocols.uds.data_formats import COUNTER_LENGTH, PLAIN, Compression, DataFormat, Encryption
from protocols.uds.dtc import (
    COUNTER_FAILED,
    COUNTER_PASSED,
    DTC_FORMAT_IDENTIFIER,
    EXTENDED_DATA_LENGTHS,
    FIRST_FAILURE_SNAPSHOT,
    SEVERITY_AVAILABILITY_MASK,
    STATUS_AVAILABILITY_MASK,
    ExtendedDataRecord,
    FunctionalGroup,
    Severity,
    display,
)
from protocols.uds.rules import Access
from protocols.uds.security_access import KEY_LENGTH, SEED_LENGTH

#: Who may, in the words of the page.
AccessWords = Callable[[Access | None], str]

_KIB = 1024
_DOIP_PORT: Final = 13400
_TLS_PORT: Final = 3496


def properties(ecu: EcuType) -> Iterator[tuple[str, str]]:
    wire = WIRES[ecu.wire]
    yield "hardware identifier", f"{ecu.hardware_identifier} (22 F191)"
    yield "wire", f"`{ecu.wire}` ({_speed(ecu)})"
    for address in ecu.can_addresses:
        kind = "29 bits" if address.extended else "11 bits"
        pair = f"{address.request_id:03X}, {address.response_id:03X} ({kind})"
        yield "tester to ECU, ECU to tester", pair
        if address.periodic_id is not None:
            yield "periodic identifiers (2A) come on", f"{address.periodic_id:03X}"
    yield "functional address", f"{wire.functional_id:03X}"
    yield "logical address", f"{ecu.logical_address:04X}"
    yield (
        "editions",
        (
            f"ISO 14229-1:{ecu.editions.uds:d}, ISO 13400-2:{ecu.editions.doip:d},"
            f" ISO 15765-2:{ecu.editions.isotp:d}"
        ),
    )


def _speed(ecu: EcuType) -> str:
    wire = WIRES[ecu.wire]
    data = f", data phase {wire.data_bit_rate // 1000} kbit/s" if wire.data_bit_rate else ""
    kind = {"can": "CAN", "canfd": "CAN FD", "doip": "DoIP, 100BASE-T1"}[wire.kind]
    return f"{kind}, {wire.bit_rate // 1000} kbit/s{data}"


# Transport


def transport(ecu: EcuType) -> Iterator[str]:
    if ecu.can_addresses:
        yield "## ISO-TP\n"
        yield table(("property", "value"), _isotp(ecu))
        yield (
            f"On DoIP the edge node (entity {LOGICAL_ADDRESS:04X}, functional"
            f" {FUNCTIONAL_ADDRESS:04X}) routes to {ecu.logical_address:04X}.\n"
        )
    else:
        yield "## DoIP\n"
        yield table(("property", "value"), _doip(ecu))


def _isotp(ecu: EcuType) -> Iterator[tuple[str, str]]:
    own = ecu.isotp
    fd = bool(WIRES[ecu.wire].data_bit_rate)
    yield "addressing", ", ".join(_addressing(one) for one in ecu.can_addresses)
    yield (
        "frames",
        "CAN FD with bit rate switch, up to 64 bytes" if fd else "classic CAN, 8 bytes",
    )
    yield "padding of its frames", _padding(own, fd=fd)
    yield (
        "padding of yours",
        "8 bytes at least, or they are not seen" if own.rx_padding_required else "as you like",
    )
    separation = _separation(own.st_min)
    more = "no further flow control" if not own.block_size else "consecutive frames at a time"
    yield "its flow control", f"BS {own.block_size} ({more}), STmin {own.st_min:02X} ({separation})"
    yield (
        "flow control WAIT",
        f"sends {own.max_own_wait_frames} in a row at most, puts up with {own.max_wait_frames}",
    )
    yield "longest request", f"{ecu.max_block_length} bytes; a longer one is answered OVFLW"
    longest = "4095 bytes" if ecu.editions.isotp < IsoTpEdition.E2016 else "any length"
    yield "longest message of the edition", longest
    asked, answered = WIRES[ecu.wire].functional_id, ecu.can_addresses[0].response_id
    yield "functional requests", f"single frames on {asked:03X}, answered on {answered:03X}"
    yield "both directions at once", "no" if own.half_duplex else "yes"
    yield (
        "N_As, N_Ar, N_Bs, N_Cr",
        ", ".join(f"{one:g} s" for one in (own.n_as_s, own.n_ar_s, own.n_bs_s, own.n_cr_s)),
    )
    yield "N_Br, N_Cs at most", f"{own.n_br_s:g} s, {own.n_cs_s:g} s"


def _addressing(address: CanAddress) -> str:
    if address.request_extension is not None:
        return (
            f"extended: {address.request_extension:02X} first in each frame to it,"
            f" {address.response_extension or 0:02X} in each from it"
        )
    # ISO 15765-2: priority 6, DA for physical addressing, target and source address.
    fixed = address.extended and address.request_id >> 16 == _NORMAL_FIXED
    return "normal fixed" if fixed else "normal"


_NORMAL_FIXED: Final = 0x18DA


def _padding(own: IsoTpParameters, *, fd: bool) -> str:
    if own.padding is None:
        return "none"
    longer = ", above that to the next length of CAN FD" if fd else ""
    return f"{own.padding:02X} to 8 bytes{longer}"


def _separation(code: int) -> str:
    if code <= 0x7F:
        return f"{code} ms"
    return f"{(code - 0xF0) * 100} µs" if 0xF1 <= code <= 0xF9 else "127 ms: reserved"


def _doip(ecu: EcuType) -> Iterator[tuple[str, str]]:
    its = EntitySettings(
        vin="0" * 17,
        logical_address=ecu.logical_address,
        eid=bytes(6),
        gid=bytes(6),
        max_request=ecu.max_block_length,
        edition=ecu.editions.doip,
    )
    yield "entity", f"{ecu.logical_address:04X}, the ECU itself"
    yield (
        "ports",
        f"TCP and UDP {_DOIP_PORT}; {_TLS_PORT} with TLS 1.3, where it is served with it",
    )
    taken = ", ".join(f"{one:02X}" for one in sorted(its.versions))
    yield "protocol version", f"announces {its.version:02X}, takes {taken}, answers in yours"
    yield "tester addresses", f"{TESTER_ADDRESSES[0]:04X} to {TESTER_ADDRESSES[-1]:04X}"
    types = ", ".join(f"{kind:02X}" for kind in sorted(its.activations))
    yield "routing activation types", f"{types}; others are answered 06"
    yield "testers at a time", f"{its.max_testers}; one active socket for each address"
    yield "longest request", f"{its.max_request} bytes; a longer one is answered 8003 04"
    yield "acknowledgement", "8002 before the response, without the request's bytes"
    yield (
        "announcements",
        f"{its.announcements}, every {its.announce_interval_s * 1000:g} ms, after up to 500 ms",
    )
    yield "inactivity until routing activation", f"{its.initial_inactivity_s:g} s"
    yield "inactivity after it", f"{its.general_inactivity_s:g} s"
    yield "alive check", f"{its.alive_check_s * 1000:g} ms"


# Timing and security


def timing(ecu: EcuType) -> Iterator[str]:
    yield "## Timing\n"
    yield table(("property", "value"), _timing(ecu))


def _timing(ecu: EcuType) -> Iterator[tuple[str, str]]:
    yield "P2, P2*", f"{ecu.p2_s * 1000:g} ms, {ecu.p2_star_s:g} s; 50 tells them in ms and 10 ms"
    yield (
        "7F xx 78",
        (
            f"{ecu.p2_s * PENDING_MARGIN * 1000:g} ms after the request, then every"
            f" {ecu.p2_star_s * PENDING_MARGIN:g} s until the answer"
        ),
    )
    yield (
        "S3",
        f"{ecu.s3_s:g} s after an answer without a request: default session, locked",
    )
    begin = "reset, and 10 02 into the boot loader," if ecu.single_slot else "reset"
    yield f"{begin} to the first answer", f"{ecu.boot_s:g} s"
    if ecu.staging_area:
        yield "copying a full staged image, besides, at the next reset", f"{_copy_s(ecu):.3g} s"
    sectors = ecu.slot.size // ecu.slot.sector_size
    yield "erase of the whole application area", f"{sectors * ecu.slot.erase_s:g} s"
    pages = ecu.slot.size // ecu.slot.page_size
    yield "programming it, besides the transfer", f"{pages * ecu.slot.program_s:g} s"
    yield "checking a full image", f"{ecu.slot.size / ecu.hash_bytes_per_s:g} s"
    limits = ecu.special.timing
    if limits is not None and ecu.editions.uds == UdsEdition.E2013:
        low, high = (f"{one * 1000:g} ms" for one in limits.p2_s)
        low_star, high_star = (f"{one:g} s" for one in limits.p2_star_s)
        yield (
            "83 (edition 2013)",
            f"P2 {low} to {high}, P2* {low_star} to {high_star}, until the session ends",
        )
    link = ecu.special.link
    if link is not None:
        fixed = ", ".join(f"{key:02X} {rate} bit/s" for key, rate in sorted(link.fixed.items()))
        yield "87 01, fixed bit rates", fixed
        if link.specific:
            yield "87 02, specific bit rates", ", ".join(map(str, sorted(link.specific)))
    events = ecu.special.events
    if events is not None:
        windows = ", ".join(
            f"{key:02X} {'no end' if end is None else f'{end:g} s'}"
            for key, end in sorted(events.windows.items())
        )
        yield "86, event windows", windows
        yield "86, what is watched is looked at", f"every {events.sample_s * 1000:g} ms"


def _copy_s(ecu: EcuType) -> float:
    """An agent checks, erases, programs and checks again."""
    slot = ecu.slot
    writing_s = slot.size // slot.sector_size * slot.erase_s
    writing_s += slot.size // slot.page_size * slot.program_s
    return writing_s + 2 * slot.size / ecu.hash_bytes_per_s


def security(ecu: EcuType) -> Iterator[str]:
    limits = AttemptLimits()
    yield "## Security access\n"
    rows = []
    for level in (ecu.security_level, *ecu.more_levels):
        use = "programming" if level == ecu.security_level else "engineering"
        rows.append((f"{level}", use, f"`27 {level:02X}`", f"`27 {level + 1:02X}`"))
    yield table(("level", "for", "seed", "key"), rows)
    yield (
        f"A seed has {SEED_LENGTH} bytes, a key {KEY_LENGTH}: the AES-CMAC of `canota security"
        " access`, the level's byte, the serial number (22 F18C) and the seed, under the secret of"
        " this ECU and level. The secret is HKDF-SHA256 of the diagnostics master, 16 bytes, with"
        " the info `canota security access key`, the level's byte and the serial number. The master"
        " of simulated vehicles is `firmware/keys/diagnostics-master.dev-only.hex`;"
        " `protocols.uds.security_access` computes both.\n"
    )
    yield (
        "A seed serves for one key and is all zeros where the level is open already. Each wrong key"
        f" is 35; from the {_ordinal(limits.attempts)} in a row on it is 36, and every 27 is 37 for"
        f" {limits.delay_s:g} s, doubling up to {limits.max_delay_s:g} s, resets included. A change"
        " of session locks.\n"
    )


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third", 4: "fourth", 5: "fifth"}.get(number, f"{number}th")


# Programming


def _two_slots(check: str) -> tuple[tuple[str, str], ...]:
    return (
        ("10 03", "extended session; the application goes on running"),
        ("27 01", "and 27 02: unlock"),
        ("2E F1 5A", "fingerprint"),
        ("31 01 FF 00", "erase what the image needs of the area, in the slot that does not run"),
        ("34", "one download of the image, from the area's first address on"),
        ("36", "blocks, counter from 01 on; a block that is sent again is not written again"),
        ("37", "the end of the download"),
        ("31 01 02 02", f"{check}; no option record"),
        ("31 01 FF 01", "check dependencies"),
        ("31 01 02 10", "activate: the next reset tries the new slot once"),
        ("11 01", "the ECU comes back with the new application, on trial"),
        ("31 01 02 11", "confirm (10 03 and 27 first); without it the next reset goes back"),
    )


#: Request, or the beginning of one -> what it is for; by boot profile. `data`: 34, 36 and 37.
_SEQUENCES: Final = {
    "mcuboot_ab": _two_slots("check signature and hardware"),
    "she_cmac": _two_slots("check hardware, and load the image's MAC into the secure store"),
    "mcuboot_swap": (
        ("10 03", "extended session; the application goes on running"),
        ("27 01", "and 27 02: unlock"),
        ("2E F1 5A", "fingerprint"),
        ("31 01 FF 00", "erase what the image needs of the area, in the second slot"),
        ("34", "one download of the image, from the area's first address on"),
        ("36", "blocks, counter from 01 on; a block that is sent again is not written again"),
        ("37", "the end of the download"),
        ("31 01 02 02", "check signature and hardware; no option record"),
        ("31 01 FF 01", "check dependencies"),
        ("31 01 02 10", "activate: the next reset swaps the slots"),
        ("11 01", "the boot loader swaps, sector by sector; the new application is on trial"),
        ("31 01 02 11", "confirm (10 03 and 27 first); without it the slots are swapped back"),
    ),
    "overwrite": (
        ("10 03", "extended session; the application goes on running"),
        ("27 01", "and 27 02: unlock"),
        ("2E F1 5A", "fingerprint"),
        ("31 01 FF 00", "erase what the image needs of the area, in the second slot"),
        ("34", "one download of the image, from the area's first address on"),
        ("36", "blocks, counter from 01 on; a block that is sent again is not written again"),
        ("37", "the end of the download"),
        (
            "31 01 02 02",
            "check signature, hardware and version, and what the option record says of the image",
        ),
        ("31 01 FF 01", "check dependencies"),
        ("31 01 02 10", "activate: the next reset overwrites the first slot"),
        ("11 01", "the boot loader copies; the old application is gone"),
        ("31 01 02 11", "confirm (10 03 and 27 first): nothing older is taken from then on"),
    ),
    "update_agent": (
        ("10 03", "extended session; the application goes on running"),
        ("27 01", "and 27 02: unlock"),
        ("2E F1 5A", "fingerprint"),
        ("31 01 FF 00", "erase what the image needs of the area, in the staging area"),
        ("34", "one download of the image, from the area's first address on"),
        ("36", "blocks, counter from 01 on; a block that is sent again is not written again"),
        ("37", "the end of the download"),
        ("31 01 02 02", "check, with length, CRC32 and SHA-512 of the image as option record"),
        ("31 01 FF 01", "check dependencies"),
        ("31 01 02 10", "activate: set the flag on which the boot loader's agent copies"),
        ("11 01", "the agent checks, copies and checks again; the ECU is silent meanwhile"),
        ("31 01 02 11", "confirm (10 03 and 27 first): refused while a copy is still to come"),
    ),
    "conventional": (
        ("10 03", "extended session, in the application"),
        ("31 01 02 03", "check preconditions"),
        ("10 02", "78, and the boot loader sends the 50 02; nothing runs from here on"),
        ("27 01", "and 27 02: unlock"),
        ("2E F1 5A", "fingerprint"),
        ("31 01 FF 00", "erase what the image needs of the area"),
        ("34", "one download of the image, from the area's first address on"),
        ("36", "blocks, counter from 01 on; a block that is sent again is not written again"),
        ("37", "the end of the download"),
        ("31 01 02 02", "check, with the CRC32 of the image as option record"),
        ("31 01 FF 01", "check dependencies"),
        ("11 01", "the application starts, if it is whole and for this hardware"),
    ),
}


def sequence(ecu: EcuType) -> Iterator[tuple[str, str]]:
    """The requests that program the application, in order, and what each is for."""
    yield from _SEQUENCES[ecu.boot_profile]


def programming(ecu: EcuType) -> Iterator[str]:
    yield "## Programming\n"
    if ecu.secondary_loader is not None or ecu.blocks:
        yield (
            "With blocks and a secondary boot loader: [the whole sequence](../../explanation/"
            "special-services.md#several-blocks-and-a-secondary-boot-loader). Of the application"
            " alone, once the secondary boot loader runs:\n"
        )
    yield table(
        ("", "request", "what for"),
        (
            (str(number), f"`{request}`", words)
            for number, (request, words) in enumerate(sequence(ecu), 1)
        ),
    )
    yield f"maxNumberOfBlockLength is {ecu.max_block_length}, service and counter included.\n"
    yield "dataFormatIdentifier of 34; its size is always that of the image as it is stored:\n"
    formats = {0x00: PLAIN, **ecu.data_formats}
    yield table(
        ("34", "what 36 brings"), ((f"`{key:02X}`", _format(one)) for key, one in formats.items())
    )


def _format(one: DataFormat) -> str:
    parts = []
    if one.compression is Compression.ZLIB:
        parts.append("a zlib stream (RFC 1950)")
    if one.encryption is Encryption.AES_CTR:
        parts.append(
            f"encrypted with AES-128 in counter mode behind the {COUNTER_LENGTH} bytes of the first"
            " counter block; the key is `protocols.uds.data_formats.derive_data_key` of master and"
            " serial number"
        )
    return ", ".join(parts) or "the bytes of the image"


# Trouble codes


_SEVERITIES: Final = {
    0: "none",
    Severity.MAINTENANCE_ONLY: "maintenance only",
    Severity.CHECK_AT_NEXT_HALT: "check at next halt",
    Severity.CHECK_IMMEDIATELY: "check immediately",
}


def trouble_codes(ecu: EcuType) -> Iterator[str]:
    yield "## Trouble codes\n"
    rows = (
        (
            f"`{display(one.code)}`",
            f"{one.code:06X}",
            ecu.dtcs[one.code],
            _SEVERITIES[one.severity & SEVERITY_AVAILABILITY_MASK],
            f"{one.functional_unit:02X}",
            _debounce(one.failed_step, one.passed_step),
            f"{one.confirm_cycles}",
            f"{one.aging_cycles}",
            "yes" if one.indicator else "-",
            _group(one.group, one.readiness_group),
        )
        for one in dtc_definitions(ecu)
    )
    yield table(
        (
            *("DTC", "number", "text", "severity", "functional unit", "debounce"),
            *("confirmed after cycles", "aged after cycles", "indicator, permanent", "group"),
        ),
        rows,
    )
    yield (
        f"A cycle is one from power-on to power-off. Debounce: steps of the fault detection counter"
        f" (19 14) per result of the monitor, which has one every {STEP_S * 1000:g} ms;"
        f" {COUNTER_FAILED} is failed, {COUNTER_PASSED} passed. Aged: so many cycles without a"
        " failure forget a confirmed code.\n"
    )
    yield f"Status: {bits(status_byte())}. Those that are kept: {STATUS_AVAILABILITY_MASK:02X}.\n"
    yield f"Format identifier {DTC_FORMAT_IDENTIFIER:02X} (ISO 14229-1).\n"
    groups = (
        f"{code:06X} {text}" for code, text in group_texts(ecu).items() if code not in ecu.dtcs
    )
    yield f"What 14 and 85 may name: {'; '.join(groups)}; or one number.\n"
    live = ", ".join(f"`{did:04X}`" for did in ecu.live_values) or "nothing"
    yield (
        f"Snapshot record {FIRST_FAILURE_SNAPSHOT:02X} (19 04) is of the first failure since the"
        f" last clear and holds {live}.\n"
    )
    records = ", ".join(
        f"{number:02X} {ExtendedDataRecord(number).name.lower().replace('_', ' ')} u{8 * size}"
        for number, size in EXTENDED_DATA_LENGTHS.items()
    )
    yield f"Extended data records (19 06): {records}.\n"
    selections = ", ".join(f"`{selection:02X}`" for selection in ecu.dtc_rules.memories)
    if selections:
        yield (
            f"User-defined memories (memorySelection of 19 17 to 19): {selections}; `14 FF FF FF`"
            " leaves them.\n"
        )
    if ecu.nodes:
        nodes = ", ".join(f"`{node:04X}`" for node in sorted(ecu.nodes))
        yield f"Nodes that `28 04` and `28 05` can name: {nodes}.\n"


def _debounce(failed: int, passed: int) -> str:
    if (failed, passed) == (COUNTER_FAILED, -COUNTER_PASSED):
        return "at once"
    return f"+{failed}, -{passed}"


def _group(group: int | None, readiness: int | None) -> str:
    told = []
    if group is not None:
        told.append(f"{group:02X} {FunctionalGroup(group).name.lower().replace('_', ' ')}")
    if readiness is not None:
        told.append(f"readiness {readiness:02X}")
    return ", ".join(told) or "-"


# Memory


def memory(ecu: EcuType, access: AccessWords) -> Iterator[str]:
    yield "## Memory\n"
    slots = "one slot" if ecu.single_slot else f"{ecu.slots} slots behind one range of addresses"
    if ecu.staging_area:
        slots = "one slot and a staging area of its size behind one range of addresses"
    rows = {
        "application area": f"{ecu.application_base:08X}, {ecu.slot.size // _KIB} KiB, {slots}",
        "sector": f"{ecu.slot.sector_size} bytes, erased in {ecu.slot.erase_s * 1000:g} ms",
        "page": f"{ecu.slot.page_size} bytes, programmed in {ecu.slot.program_s * 1000:g} ms",
    }
    yield table(("property", "value"), rows.items())
    if ecu.blocks or ecu.secondary_loader is not None:
        yield "Programmed beside the application:\n"
        rows = {f"block `{one.name}`": f"{one.start:08X}, {one.size} bytes" for one in ecu.blocks}
        if ecu.secondary_loader is not None:
            loader = ecu.secondary_loader
            rows["secondary boot loader (RAM)"] = f"{loader.start:08X}, {loader.size} bytes"
        yield table(("area", "range"), rows.items())
    if ecu.data.memory:
        yield "By address (23, 3D, 35):\n"
        yield table(
            ("range", "holds", "23", "3D", "35"),
            (
                (
                    f"{one.start:08X}, {one.size} bytes",
                    one.storage.value,
                    *(access(allowed) for allowed in (one.read, one.write, one.upload)),
                )
                for one in ecu.data.memory
            ),
        )
