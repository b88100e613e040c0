"""The last look at all ECUs: a part may have come, or an ECU gone, since its own step was done."""

import asyncio
from collections.abc import Iterable, Mapping

from vehicle_gateway.update import EcuUpdater, Inventory
from vehicle_gateway.update.begin import inventories
from vehicle_gateway.update.coordinator import Direction, EcuState
from vehicle_gateway.update.images import before_of, runs
from vehicle_gateway.update.journal import Kind
from vehicle_gateway.update.ledger import Ledger
from vehicle_gateway.update.parts import Parts
from vehicle_gateway.update.steps import PATIENCE_S, EcuSteps


class Inspection:
    """The inventories in the end, and what follows from them."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        updaters: Mapping[str, EcuUpdater],
        steps: EcuSteps,
        parts: Parts,
    ) -> None:
        self._ledger = ledger
        self._updaters = updaters
        self._steps = steps
        self._parts = parts

    async def look(self) -> None:
        """Write `INSPECTED`; not where an ECU behind the commit does not run the release.

        That one is not done: its entry says so, and the update goes on with it.
        """
        started_us = self._ledger.now_us()
        found = await self._asked(self._ledger.offered)
        if self._ledger.state.direction is Direction.KEEP:
            found = await self._waited_for(found)
            if self._reopened(found, started_us):
                return
        else:
            self._lose_replaced(found)
        self._ledger.note(Kind.INSPECTED, started_us=started_us, ecus=found)

    async def _asked(self, ecus: Iterable[str]) -> tuple[Inventory, ...]:
        return await inventories(
            [self._updaters[ecu] for ecu in ecus if ecu in self._updaters],
            self._ledger.opening.offer.nonce,
        )

    async def _waited_for(self, found: tuple[Inventory, ...]) -> tuple[Inventory, ...]:
        """What the ECUs say, those asked again that do not answer: nothing holds the car now."""
        said = {inventory.ecu: inventory for inventory in found}
        for pause_s in PATIENCE_S:
            silent = [
                ecu
                for ecu, inventory in said.items()
                if inventory.error and self._ledger.state.part(ecu).state is not EcuState.LOST
            ]
            if not silent:
                break
            await asyncio.sleep(pause_s)
            said.update({inventory.ecu: inventory for inventory in await self._asked(silent)})
        return tuple(said.values())

    def _reopened(self, found: Iterable[Inventory], started_us: int) -> bool:
        reopened = False
        for inventory in found:
            if self._ledger.state.part(inventory.ecu).state is EcuState.LOST:
                continue
            if self._parts.is_replaced(inventory):
                self._parts.replace(inventory)
                reopened = True
                continue
            wrong = self._steps.not_new(inventory)
            if wrong is None:
                continue
            kind = Kind.FAILED if inventory.error else Kind.WENT_BACK
            self._ledger.note(
                kind, inventory.ecu, started_us=started_us, step="inspecting", cause=wrong
            )
            reopened = True
        return reopened

    def _lose_replaced(self, found: Iterable[Inventory]) -> None:
        """Going back: a part that came meanwhile is left as it is, and told of if it differs."""
        replaced = {entry.ecu for entry in self._ledger.entries if entry.kind is Kind.REPLACED}
        for inventory in found:
            ecu = inventory.ecu
            if self._ledger.state.part(ecu).state is EcuState.LOST:
                continue
            if self._parts.is_replaced(inventory):
                self._parts.replace(inventory)
                replaced.add(ecu)
            if ecu not in replaced:
                continue
            old = before_of(self._ledger.offered[ecu], self._ledger.before[ecu])
            if old and not runs(inventory, old):
                says = inventory.error or f"runs {inventory.software_version or 'no application'}"
                self._ledger.note(
                    Kind.FAILED, ecu, step="inspecting", cause=f"was replaced, and {says}"
                )
                self._ledger.give_up(ecu)
