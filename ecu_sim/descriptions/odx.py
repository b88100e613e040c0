"""Fields and operations as ODX elements (ASAM MCD-2 D 2.2.0, ISO 22901-1).

Element order is the schema's. A data object is written once and referred to from wherever its
bytes occur; every identifier begins with the ECU's name, so that several files can be loaded
together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from ecu_sim.descriptions.layout import (
    Constant,
    CountedText,
    Field,
    Fields,
    LengthKey,
    Number,
    Packed,
    Raw,
    Repeat,
    Sized,
    Switch,
    Text,
    TroubleCode,
    length,
    short_name,
)
from protocols.uds.dtc import display

XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"

_ENDS: Final = {"BASE-TYPE-ENCODING": "NONE", "IS-HIGHLOW-BYTE-ORDER": "true"}


def child(parent: Element, tag: str, text: object = None, **attributes: str) -> Element:
    """A new last child; attributes are given with underscores for hyphens."""
    made = SubElement(
        parent, tag, {name.replace("_", "-"): value for name, value in attributes.items()}
    )
    if text is not None:
        made.text = str(text)
    return made


def named(element: Element, name: str, title: str = "", text: str = "") -> Element:
    """SHORT-NAME, LONG-NAME and DESC, which every element begins with."""
    child(element, "SHORT-NAME", name)
    if title:
        child(element, "LONG-NAME", title)
    if text:
        child(child(element, "DESC"), "p", text)
    return element


@dataclass(slots=True)
class Dictionary:
    """The data objects of one ECU: made when they are first needed, in that order."""

    ecu: str
    dtcs: Mapping[int, str]
    elements: dict[str, list[Element]] = field(default_factory=dict)
    _ids: dict[object, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _units: dict[str, str] = field(default_factory=dict)

    def params(self, parent: Element, fields: Fields, *, owner: str) -> None:
        """PARAMS of a message or structure."""
        params = child(parent, "PARAMS")
        position: int | None = 0
        for one in fields:
            self._param(params, one, position, owner)
            size = length(one)
            position = None if position is None or size is None else position + size

    def data_object(self, one: Number | Text | Raw) -> str:
        """The identifier of the data object of a field that stands for itself."""
        return self._object(one, self.ecu)

    def written(self) -> Element:
        """DIAG-DATA-DICTIONARY-SPEC."""
        spec = Element("DIAG-DATA-DICTIONARY-SPEC")
        for group in _GROUPS:
            if found := self.elements.get(group):
                child(spec, group).extend(found)
        if (units := self.units()) is not None:
            spec.append(units)
        return spec

    def units(self) -> Element | None:
        """UNIT-SPEC; `None` where nothing has a unit."""
        if not self._units:
            return None
        spec = Element("UNIT-SPEC")
        units = child(spec, "UNITS")
        for text, identifier in self._units.items():
            unit = named(child(units, "UNIT", ID=identifier), identifier.rpartition(".")[2])
            child(unit, "DISPLAY-NAME", text)
        return spec

    # Parameters

    def _param(self, params: Element, one: Field, position: int | None, owner: str) -> None:
        match one:
            case Constant():
                _constant(params, one, position)
            case Packed():
                self._packed(params, one, position, owner)
            case LengthKey():
                self._length_key(params, one, owner, position=position, bit=None)
            case _:
                param = _begin(params, "VALUE", one.name, position)
                if isinstance(one, Raw | Text) and one.length is None and not _least(one):
                    child(param, "PHYSICAL-DEFAULT-VALUE", "")
                child(param, "DOP-REF", ID_REF=self._object(one, owner))

    def _packed(self, params: Element, one: Packed, position: int | None, owner: str) -> None:
        """Its parts; a structure of them where the place is not known: bits need a byte's."""
        if position is None:
            param = _begin(params, "VALUE", one.name, None)
            child(param, "DOP-REF", ID_REF=self._structure(one.name, (one,), owner))
            return
        # The one that ends in the last byte comes last: readers go on behind it.
        parts = one.parts if one.length == 1 else sorted(one.parts, key=lambda part: -part.bit)
        for part in parts:
            top = part.bit + part.bits - 1
            place, bit = position + one.length - 1 - top // 8, part.bit % 8
            if isinstance(part, LengthKey):
                self._length_key(params, part, owner, position=place, bit=bit)
            else:
                param = _begin(params, "VALUE", part.name, place, bit)
                child(param, "DOP-REF", ID_REF=self._object(part, owner))

    def _length_key(
        self, params: Element, key: LengthKey, owner: str, *, position: int | None, bit: int | None
    ) -> None:
        param = _begin(params, "LENGTH-KEY", key.name, position, bit)
        param.set("ID", f"{owner}.{key.name}")
        child(param, "DOP-REF", ID_REF=self._length_of(key.bits))

    # Data objects

    def _object(self, one: Field, owner: str) -> str:
        """The identifier of the data object of a field."""
        match one:
            case Number():
                return self._number(one)
            case Text() | Raw() | CountedText():
                return self._bytes(one)
            case Sized():
                return self._sized(one, f"{owner}.{one.key}")
            case TroubleCode():
                return self._trouble_codes()
            case Repeat():
                return self._repeat(one, owner)
            case Switch():
                return self._switch(one, owner)
            case Constant() | Packed() | LengthKey():
                raise TypeError(f"{owner}: {one} is no data object of its own")

    def _new(self, group: str, tag: str, key: object, wanted: str) -> Element | None:
        """A new element for this content, `None` where there is one already."""
        if key in self._ids:
            return None
        name, number = wanted, 2
        while name in self._names:
            name, number = f"{wanted}_{number}", number + 1
        self._names.add(name)
        self._ids[key] = f"{self.ecu}.object.{name}"
        made = named(Element(tag, {"ID": self._ids[key]}), name)
        self.elements.setdefault(group, []).append(made)
        return made

    def _number(self, one: Number) -> str:
        texts = tuple(sorted(one.texts.items()))
        key = ("number", one.bits, one.signed, one.scale, one.unit, texts)
        wanted = one.name if texts or one.unit else f"{'int' if one.signed else 'uint'}{one.bits}"
        dop = self._new("DATA-OBJECT-PROPS", "DATA-OBJECT-PROP", key, wanted)
        if dop is not None:
            physical = _compu_method(dop, one)
            coded = "A_INT32" if one.signed else "A_UINT32"
            encoding = {"BASE-TYPE-ENCODING": "2C"} if one.signed else {}
            _coded_type(dop, coded, "STANDARD-LENGTH-TYPE", {**_ENDS, **encoding}, one.bits)
            physical_type = child(dop, "PHYSICAL-TYPE", BASE_DATA_TYPE=physical)
            if physical == "A_FLOAT64":
                child(physical_type, "PRECISION", _decimals(one.scale))
            if one.unit:
                child(dop, "UNIT-REF", ID_REF=self._unit(one.unit))
        return self._ids[key]

    def _length_of(self, bits: int) -> str:
        """Of a length key: bytes as coded, bits as ODX wants them."""
        key = ("length key", bits)
        dop = self._new("DATA-OBJECT-PROPS", "DATA-OBJECT-PROP", key, "length_of_parameter")
        if dop is not None:
            _linear(dop, factor="8")
            _coded_type(dop, "A_UINT32", "STANDARD-LENGTH-TYPE", _ENDS, bits)
            child(dop, "PHYSICAL-TYPE", BASE_DATA_TYPE="A_UINT32")
        return self._ids[key]

    def _sized(self, one: Sized, length_key: str) -> str:
        key = ("sized", length_key, one.name)
        dop = self._new("DATA-OBJECT-PROPS", "DATA-OBJECT-PROP", key, one.name)
        if dop is not None:
            child(child(dop, "COMPU-METHOD"), "CATEGORY", "IDENTICAL")
            coded = _coded_type(dop, "A_UINT32", "PARAM-LENGTH-INFO-TYPE", _ENDS)
            child(coded, "LENGTH-KEY-REF", ID_REF=length_key)
            child(dop, "PHYSICAL-TYPE", BASE_DATA_TYPE="A_UINT32", DISPLAY_RADIX="HEX")
        return self._ids[key]

    def _bytes(self, one: Text | Raw | CountedText) -> str:
        text = not isinstance(one, Raw)
        bits = one.length_bits if isinstance(one, CountedText) else 0
        fixed = None if isinstance(one, CountedText) else one.length
        least = _least(one)
        key = ("bytes", text, bits, fixed, least)
        kind = "text" if text else "bytes"
        size = f"_{fixed}" if fixed is not None else f"_from_{least}" if least else ""
        dop = self._new("DATA-OBJECT-PROPS", "DATA-OBJECT-PROP", key, f"{kind}{size}")
        if dop is not None:
            child(child(dop, "COMPU-METHOD"), "CATEGORY", "IDENTICAL")
            base = "A_ASCIISTRING" if text else "A_BYTEFIELD"
            encoding = {"BASE-TYPE-ENCODING": "ISO-8859-1" if text else "NONE"}
            if bits:
                _coded_type(dop, base, "LEADING-LENGTH-INFO-TYPE", encoding, bits)
            elif fixed is not None:
                _coded_type(dop, base, "STANDARD-LENGTH-TYPE", encoding, 8 * fixed)
            else:
                ending = {"TERMINATION": "END-OF-PDU"}
                coded = _coded_type(dop, base, "MIN-MAX-LENGTH-TYPE", encoding | ending)
                child(coded, "MIN-LENGTH", least)
            physical = "A_UNICODE2STRING" if text else "A_BYTEFIELD"
            child(dop, "PHYSICAL-TYPE", BASE_DATA_TYPE=physical)
        return self._ids[key]

    def _trouble_codes(self) -> str:
        key = "trouble codes"
        dop = self._new("DTC-DOPS", "DTC-DOP", key, "trouble_codes")
        if dop is not None:
            _coded_type(dop, "A_UINT32", "STANDARD-LENGTH-TYPE", _ENDS, 24)
            child(dop, "PHYSICAL-TYPE", BASE_DATA_TYPE="A_UINT32", DISPLAY_RADIX="HEX")
            child(child(dop, "COMPU-METHOD"), "CATEGORY", "IDENTICAL")
            dtcs = child(dop, "DTCS")
            for code, text in self.dtcs.items():
                name = f"DTC_{code:06X}"
                dtc = named(child(dtcs, "DTC", ID=f"{self.ecu}.dtc.{name}"), name)
                child(dtc, "TROUBLE-CODE", code)
                child(dtc, "DISPLAY-TROUBLE-CODE", display(code))
                child(dtc, "TEXT", text)
        return self._ids[key]

    def _structure(self, name: str, fields: Fields, owner: str) -> str:
        key = ("structure", fields, owner if _uses_keys(fields) else "")
        if key in self._ids:
            return self._ids[key]
        made = self._new("STRUCTURES", "STRUCTURE", key, name)
        if made is not None:
            self.params(made, fields, owner=owner)
        return self._ids[key]

    def _repeat(self, one: Repeat, owner: str) -> str:
        key = ("repeat", one.items, one.counted, one.most, owner if _uses_keys(one.items) else "")
        if key in self._ids:
            return self._ids[key]
        structure = self._structure(f"{one.name}_item", one.items, owner)
        if one.counted:
            made = self._new("DYNAMIC-LENGTH-FIELDS", "DYNAMIC-LENGTH-FIELD", key, one.name)
        else:
            made = self._new("END-OF-PDU-FIELDS", "END-OF-PDU-FIELD", key, one.name)
        if made is not None:
            child(made, "BASIC-STRUCTURE-REF", ID_REF=structure)
            if one.most is not None:
                child(made, "MAX-NUMBER-OF-ITEMS", one.most)
            if one.counted:
                child(made, "OFFSET", 1)
                count = child(made, "DETERMINE-NUMBER-OF-ITEMS")
                child(count, "BYTE-POSITION", 0)
                reference = self._number(Number(name="count"))
                child(count, "DATA-OBJECT-PROP-REF", ID_REF=reference)
        return self._ids[key]

    def _switch(self, one: Switch, owner: str) -> str:
        """A case per key: what a range stands for would be lost with the key."""
        key = ("switch", one)
        if key in self._ids:
            return self._ids[key]
        structures = {
            number: self._structure(f"{one.name}_{short_name(case.name)}", case.fields, owner)
            for number, case in one.cases.items()
            if case.fields
        }
        made = self._new("MUXS", "MUX", key, one.name)
        if made is not None:
            child(made, "BYTE-POSITION", one.key_bits // 8)
            switch = child(made, "SWITCH-KEY")
            child(switch, "BYTE-POSITION", 0)
            reference = self._number(Number(name="key", bits=one.key_bits))
            child(switch, "DATA-OBJECT-PROP-REF", ID_REF=reference)
            cases = child(made, "CASES")
            for number, case in one.cases.items():
                for value in range(number, (number if case.last is None else case.last) + 1):
                    name = short_name(case.name)
                    if case.last is not None:
                        name = f"{name}_{value:0{one.key_bits // 4}X}"
                    element = named(child(cases, "CASE"), name)
                    if case.fields:
                        child(element, "STRUCTURE-REF", ID_REF=structures[number])
                    child(element, "LOWER-LIMIT", value)
                    child(element, "UPPER-LIMIT", value)
        return self._ids[key]

    def _unit(self, text: str) -> str:
        spelled = _UNIT_NAMES.get(text) or short_name(text)
        return self._units.setdefault(text, f"{self.ecu}.unit.{spelled}")


_UNIT_NAMES: Final = {
    "°C": "degree_Celsius",
    "%": "percent",
    "km/h": "kilometres_per_hour",
    "µs": "microsecond",
    "bit/s": "bits_per_second",
}

#: Children of DIAG-DATA-DICTIONARY-SPEC in the order of the schema.
_GROUPS: Final = (
    "DTC-DOPS",
    "DATA-OBJECT-PROPS",
    "STRUCTURES",
    "DYNAMIC-LENGTH-FIELDS",
    "END-OF-PDU-FIELDS",
    "MUXS",
)


def _begin(
    params: Element, kind: str, name: str, position: int | None, bit: int | None = None
) -> Element:
    param = named(child(params, "PARAM"), name)
    param.set(XSI_TYPE, kind)
    if position is not None:
        child(param, "BYTE-POSITION", position)
    if bit is not None:
        child(param, "BIT-POSITION", bit)
    return param


#: What tools look for in a message: the ODX word for a constant of that name.
_SEMANTICS: Final = {
    "service": "SERVICE-ID",
    "refused_service": "SERVICEIDRQ",
    "sub_function": "SUBFUNCTION",
    "data_identifier": "ID",
    "routine_identifier": "ID",
}


def _constant(params: Element, one: Constant, position: int | None) -> None:
    param = _begin(params, "CODED-CONST", one.name, position)
    if one.name in _SEMANTICS:
        param.set("SEMANTIC", _SEMANTICS[one.name])
    child(param, "CODED-VALUE", one.value)
    _coded_type(param, "A_UINT32", "STANDARD-LENGTH-TYPE", _ENDS, 8 * one.length)


def _coded_type(
    parent: Element, base: str, kind: str, attributes: Mapping[str, str], bits: int = 0
) -> Element:
    coded = SubElement(
        parent, "DIAG-CODED-TYPE", {"BASE-DATA-TYPE": base, **attributes, XSI_TYPE: kind}
    )
    if bits:
        child(coded, "BIT-LENGTH", bits)
    return coded


def _compu_method(dop: Element, one: Number) -> str:
    """COMPU-METHOD of a number; the physical type that follows from it."""
    if one.texts:
        _text_table(dop, one.texts.items())
        return "A_UNICODE2STRING"
    if one.scale == 1:
        child(child(dop, "COMPU-METHOD"), "CATEGORY", "IDENTICAL")
        return "A_INT32" if one.signed else "A_UINT32"
    _linear(dop, factor=f"{one.scale:g}")
    if one.scale == round(one.scale):
        return "A_INT32" if one.signed else "A_UINT32"
    return "A_FLOAT64"


def _linear(dop: Element, *, factor: str) -> None:
    method = child(dop, "COMPU-METHOD")
    child(method, "CATEGORY", "LINEAR")
    scales = child(child(method, "COMPU-INTERNAL-TO-PHYS"), "COMPU-SCALES")
    coefficients = child(child(scales, "COMPU-SCALE"), "COMPU-RATIONAL-COEFFS")
    numerator = child(coefficients, "COMPU-NUMERATOR")
    child(numerator, "V", 0)
    child(numerator, "V", factor)
    child(child(coefficients, "COMPU-DENOMINATOR"), "V", 1)


def _text_table(dop: Element, texts: Iterable[tuple[int, str]]) -> None:
    method = child(dop, "COMPU-METHOD")
    child(method, "CATEGORY", "TEXTTABLE")
    scales = child(child(method, "COMPU-INTERNAL-TO-PHYS"), "COMPU-SCALES")
    for value, text in texts:
        scale = child(scales, "COMPU-SCALE")
        child(scale, "LOWER-LIMIT", value)
        child(scale, "UPPER-LIMIT", value)
        child(child(scale, "COMPU-CONST"), "VT", text)


def _decimals(scale: float) -> int:
    return len(f"{scale:.10f}".rstrip("0").partition(".")[2])


def _least(one: Text | Raw | CountedText) -> int:
    return one.least if isinstance(one, Raw) else 0


def _uses_keys(fields: Fields) -> bool:
    """Whether a field's length stands in the message around it."""
    return any(
        isinstance(one, Sized | LengthKey) or (isinstance(one, Repeat) and _uses_keys(one.items))
        for one in fields
    )
