"""Which edition of each standard an ECU speaks: a setting of its type, by year of publication."""

from dataclasses import dataclass
from enum import IntEnum


class UdsEdition(IntEnum):
    """ISO 14229-1."""

    E2013 = 2013
    E2020 = 2020


class DoipEdition(IntEnum):
    """ISO 13400-2."""

    E2012 = 2012
    E2019 = 2019


class IsoTpEdition(IntEnum):
    """ISO 15765-2; messages longer than 4095 bytes came in 2016."""

    E2004 = 2004
    E2016 = 2016


@dataclass(frozen=True, slots=True, kw_only=True)
class Editions:
    """The editions whose rules hold for one ECU."""

    uds: UdsEdition = UdsEdition.E2020
    doip: DoipEdition = DoipEdition.E2019
    isotp: IsoTpEdition = IsoTpEdition.E2016
