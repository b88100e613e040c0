"""The lock of one ECU program: seeds, keys, counted attempts, growing delays (service 27)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ecu_sim.diagnostics import Device, Job, Nrc, Refusal
from protocols.uds.security_access import SEED_LENGTH, compute_key, keys_match

#: The device's non-volatile record that counts wrong keys in a row.
ATTEMPTS_RECORD: Final = "security attempts"

_COUNT: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """Wrong keys in a row up to `attempts` are free; then each costs a delay, doubling."""

    attempts: int = 3
    delay_s: float = 10.0
    max_delay_s: float = 640.0

    def delay_after(self, failures: int) -> float:
        if failures < self.attempts:
            return 0.0
        # Bounded before it is shifted: the stored count may be any number.
        doublings = min(failures - self.attempts, 16)
        return min(self.delay_s * (1 << doublings), self.max_delay_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyScheme:
    """How the keys of an ECU follow from its seeds."""

    #: Level (odd sub-function) and seed -> the one right key.
    expected: Callable[[int, bytes], bytes]
    seed_length: int = SEED_LENGTH


def own_scheme(device: Device) -> KeyScheme:
    """The scheme of this project's ECUs: AES-CMAC under a secret of ECU and level."""

    def expected(level: int, seed: bytes) -> bytes:
        secret = device.security_key(level)
        return compute_key(secret, level=level, ecu_id=device.serial, seed=seed)

    return KeyScheme(expected=expected)


@dataclass(frozen=True, slots=True)
class _Challenge:
    level: int
    source: int
    seed: bytes


class SecurityAccess:
    """Locked until a tester answers a seed; open for that tester alone.

    The count of wrong keys is stored before a key is judged, so neither a reset nor a power cut
    gives a free try; after a power-on the whole delay runs again.
    """

    def __init__(
        self,
        device: Device,
        limits: AttemptLimits,
        *,
        now: float,
        scheme: KeyScheme | None = None,
    ) -> None:
        self._device = device
        self._scheme = scheme or own_scheme(device)
        self._limits = limits
        stored = device.nvm_read(ATTEMPTS_RECORD)
        # A record that cannot be read counts as one that has used up its free tries.
        readable = stored is not None and len(stored) == _COUNT.size
        count = _COUNT.unpack(stored)[0] if stored is not None and readable else limits.attempts
        self._failures: int = 0 if stored is None else count
        self._locked_until = now + limits.delay_after(self._failures)
        self._challenge: _Challenge | None = None
        self._unlocked: tuple[int, int] | None = None

    def unlocked_for(self, source: int) -> int:
        """The level that is open to this tester, 0 if there is none."""
        if self._unlocked is None or self._unlocked[1] != source:
            return 0
        return self._unlocked[0]

    def lock(self) -> None:
        self._challenge = self._unlocked = None

    def seed(self, level: int, *, source: int, now: float) -> bytes:
        """A new challenge; zeros if this tester has unlocked the level already."""
        if self._unlocked == (level, source):
            return bytes(self._scheme.seed_length)
        if now < self._locked_until:
            raise Refusal(Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED)
        self._challenge = _Challenge(level, source, self._device.new_seed())
        return self._challenge.seed

    def try_key(self, level: int, key: bytes, *, source: int, now: float) -> Job:
        """Judge a key; a seed serves for one try. The delay after a wrong one starts at `now`."""
        challenge, self._challenge = self._challenge, None
        if challenge is None or (challenge.level, challenge.source) != (level, source):
            raise Refusal(Nrc.REQUEST_SEQUENCE_ERROR)
        if now < self._locked_until:
            raise Refusal(Nrc.REQUIRED_TIME_DELAY_NOT_EXPIRED)
        return self._judge(challenge, key, now=now)

    def _judge(self, challenge: _Challenge, key: bytes, *, now: float) -> Job:
        self._failures = min(self._failures + 1, 0xFFFF)
        yield from self._store()
        expected = self._scheme.expected(challenge.level, challenge.seed)
        if not keys_match(expected, key):
            delay_s = self._limits.delay_after(self._failures)
            self._locked_until = now + delay_s
            raise Refusal(Nrc.EXCEEDED_NUMBER_OF_ATTEMPTS if delay_s else Nrc.INVALID_KEY)
        self._failures = 0
        yield from self._store()
        self._unlocked = (challenge.level, challenge.source)
        return b""

    def _store(self) -> Job:
        return self._device.nvm_write(ATTEMPTS_RECORD, _COUNT.pack(self._failures))
