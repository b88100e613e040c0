"""Outputs of an application in the hands of a tester (service 2F)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ecu_sim.ecus import ControlledOutput, EcuType
from protocols.uds import Nrc, OutputControl, Refusal
from protocols.uds.routine_status import Precondition


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputChannels:
    """The application's output channels, as `ecu_sim.values.Values` has them."""

    value: Callable[[int], float]
    #: None gives a channel back.
    override: Callable[[int, float | None], None]
    hindrances: Callable[[], tuple[Precondition, ...]]


class Outputs:
    """`ecu_sim.diagnostics.InputOutput` over the application's output channels."""

    def __init__(self, ecu: EcuType, channels: OutputChannels) -> None:
        self._records = ecu.output_records
        self._channels = channels
        #: Channels in a tester's hands -> the record by which, and those that a routine drives.
        self._taken: dict[int, int] = {}
        self._driven: set[int] = set()

    def state(self, did: int) -> bytes:
        """The record of a data identifier: what its outputs drive now."""
        return bytes(_raw(one, self._channels.value(one.channel)) for one in self._record(did))

    def control_output(self, did: int, control: OutputControl, option: bytes) -> bytes:
        """`option`: the state record (shortTermAdjustment only), then the control mask.

        A record of several outputs may be followed by a mask whose most significant bit stands for
        the first of them; without one all are meant (both readings are common).
        """
        record = self._record(did)
        adjusts = control is OutputControl.SHORT_TERM_ADJUSTMENT
        states = option[: len(record)] if adjusts else b""
        mask = option[len(states) :]
        mask_length = -(-len(record) // 8) if len(record) > 1 else 0
        if (adjusts and len(states) != len(record)) or len(mask) not in {0, mask_length}:
            raise Refusal(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT, "state and mask")
        meant = [n for n in range(len(record)) if not mask or _selected(mask, n)]
        if not meant:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, "the control mask selects nothing")
        if any(record[n].channel in self._driven for n in meant):
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "a routine drives the output")
        values = {n: self._value(record[n], control, states[n : n + 1]) for n in meant}
        returns = control is OutputControl.RETURN_TO_ECU
        if not returns and Precondition.VEHICLE_MOVING in self._channels.hindrances():
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "the vehicle moves")
        for n, value in values.items():
            self._set(record[n].channel, value, did=did)
        return self.state(did)

    def release_outputs(self, dids: Iterable[int]) -> None:
        over = frozenset(dids)
        for channel in sorted(channel for channel, did in self._taken.items() if did in over):
            self._set(channel, None, did=self._taken[channel])

    def take(self, channel: int) -> None:
        """A routine drives the channel from here on; `Refusal` while a tester or another has it."""
        if channel in self._taken or channel in self._driven:
            raise Refusal(Nrc.CONDITIONS_NOT_CORRECT, "the output is in other hands")
        self._driven.add(channel)

    def give_back(self, channel: int) -> None:
        """The routine is through."""
        self._driven.discard(channel)
        self._channels.override(channel, None)

    def _value(
        self, output: ControlledOutput, control: OutputControl, state: bytes
    ) -> float | None:
        match control:
            case OutputControl.RETURN_TO_ECU:
                return None
            case OutputControl.RESET_TO_DEFAULT:
                return output.default
            case OutputControl.FREEZE:
                return self._channels.value(output.channel)
            case OutputControl.SHORT_TERM_ADJUSTMENT:
                value = state[0] * output.scale
                if state[0] > round(output.maximum / output.scale):
                    raise Refusal(
                        Nrc.REQUEST_OUT_OF_RANGE,
                        f"{output.name}: {value:g} is more than {output.maximum:g}",
                    )
                return value

    def _set(self, channel: int, value: float | None, *, did: int) -> None:
        if value is None:
            self._taken.pop(channel, None)
        else:
            self._taken[channel] = did
        self._channels.override(channel, value)

    def _record(self, did: int) -> tuple[ControlledOutput, ...]:
        record = self._records.get(did)
        if record is None:
            raise Refusal(Nrc.REQUEST_OUT_OF_RANGE, f"no outputs in {did:04X}")
        return record.outputs


def _selected(mask: bytes, number: int) -> bool:
    return bool(mask[number // 8] & 0x80 >> number % 8)


def _raw(output: ControlledOutput, value: float) -> int:
    return min(max(round(value / output.scale), 0), 0xFF)
