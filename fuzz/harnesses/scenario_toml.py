"""Any file in place of a scenario gives steps for ECUs that there are, or a `ScenarioError`."""

from typing import Final

from ecu_sim.rest_bus import signal_limits
from ecu_sim.scenario import AtTime, BeginFault, OnStep, ScenarioError, SetSignals
from ecu_sim.scenario.player import words_of
from ecu_sim.scenario.reading import Cast, read_scenario
from fuzz import Harness

_CAST: Final = Cast(ecus=("ccu", "rear"), signals=signal_limits())


def prove(data: bytes) -> None:
    try:
        text = data.decode("utf-8")
        scenario = read_scenario(text, name="fuzz.toml", cast=_CAST)
    except (UnicodeDecodeError, ScenarioError):
        return
    names = {step.name for step in scenario.steps}
    for step in scenario.steps:
        words_of(step)
        if isinstance(step.trigger, OnStep) and step.trigger.step not in names - {step.name}:
            raise AssertionError(f"{step.name} waits for {step.trigger.step}")
        if not isinstance(step.trigger, AtTime | OnStep) and step.trigger.ecu not in _CAST.ecus:
            raise AssertionError(f"{step.name} watches {step.trigger.ecu}")
        match step.action:
            case BeginFault(faults=faults):
                ecus = {ecu for ecu, _ in faults}
            case SetSignals():
                continue
            case action:
                ecus = set(action.ecus)
        if not ecus <= set(_CAST.ecus):
            raise AssertionError(f"{step.name} is about {ecus}")


_SEED: Final = b"""name = "n"
[[step]]
name = "a"
at = "1s"
every = "10s"
fault = "ccu:late=300ms@31"
until = { ecu = "rear", request = "36", count = 3 }
[[step]]
on = { step = "a" }
after = "5ms"
repeat = true
power_off = "*"
for = "2s"
[[step]]
on = { ecu = "ccu", session = "extended" }
signals = { Speed = 50, Gear = 1 }
[[step]]
on = { ecu = "ccu", blocks = 2 }
sleep = "ccu"
[[step]]
on = { ecu = "ccu", mode = "boot loader" }
reset = "rear"
"""
HARNESS: Final = Harness(prove=prove, seeds=(_SEED, b"step = [[1]]\n"), max_length=2048)
