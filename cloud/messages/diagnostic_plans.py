"""Diagnostic plans, signal subscriptions and their batches, gaps."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from cloud.fleet.diagnostic_plans import (
    DEFAULT_STATUS_MASK,
    Batch,
    Gap,
    KnownGap,
    Plan,
    SequenceRange,
    SignalError,
    Subscription,
    Wanted,
)
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import (
    diagnostic_gap_name,
    diagnostic_gap_of,
    diagnostic_plan_name,
    signal_subscription_name,
)
from cloud.messages.diagnostics import from_series, to_series
from cloud.messages.times import from_duration, from_timestamp, to_duration, to_timestamp
from protocols.fleet.v1 import diagnostic_plans_pb2, diagnostics_pb2

#: Field of the message -> field of the plan.
_PLAN_FIELDS: Final = {
    "period": "period_s",
    "ecus": "ecus",
    "change_interval": "change_interval_s",
    "status_mask": "status_mask",
    "wake": "wake",
}


def to_plan(plan: Plan, vin: str) -> diagnostic_plans_pb2.DiagnosticPlan:
    return diagnostic_plans_pb2.DiagnosticPlan(
        name=diagnostic_plan_name(vin),
        period=to_duration(plan.period_s),
        ecus=plan.ecus,
        change_interval=to_duration(plan.change_interval_s),
        status_mask=plan.status_mask,
        wake=plan.wake,
        revision=plan.revision,
        update_time=to_timestamp(plan.update_time),
    )


def from_plan(message: diagnostic_plans_pb2.DiagnosticPlan) -> Plan:
    """Return what an operator wants; `InvalidFieldError` names the field."""
    field = "diagnostic_plan"
    interval = from_duration(message.change_interval, field=f"{field}.change_interval")
    return Plan(
        period_s=from_duration(message.period, field=f"{field}.period").total_seconds(),
        ecus=tuple(message.ecus),
        change_interval_s=interval.total_seconds(),
        status_mask=message.status_mask or DEFAULT_STATUS_MASK,
        wake=message.wake,
    )


def masked(stored: Plan, wanted: Plan, mask: FieldMask) -> Plan:
    """Return the stored plan with those fields changed; without a mask, all."""
    paths = set(mask.paths) or set(_PLAN_FIELDS)
    if unknown := sorted(paths - _PLAN_FIELDS.keys()):
        raise InvalidFieldError(
            "update_mask", f"{unknown[0]!r} is none of {', '.join(_PLAN_FIELDS)}"
        )
    return replace(
        stored, **{_PLAN_FIELDS[path]: getattr(wanted, _PLAN_FIELDS[path]) for path in paths}
    )


def to_subscription(subscription: Subscription) -> diagnostic_plans_pb2.SignalSubscription:
    return diagnostic_plans_pb2.SignalSubscription(
        name=signal_subscription_name(subscription.vin, subscription.subscription_id),
        signals=subscription.wanted.signals,
        period=to_duration(subscription.wanted.period_s),
        duration=to_duration(subscription.wanted.duration_s),
        state=diagnostic_plans_pb2.SignalSubscriptionState.ValueType(subscription.state),
        create_time=to_timestamp(subscription.create_time),
        start_time=to_timestamp(subscription.start_time),
        expire_time=to_timestamp(subscription.expire_time),
    )


def from_wanted(message: diagnostic_plans_pb2.SignalSubscription) -> Wanted:
    field = "signal_subscription"
    return Wanted(
        signals=tuple(message.signals),
        period_s=from_duration(message.period, field=f"{field}.period").total_seconds(),
        duration_s=from_duration(message.duration, field=f"{field}.duration").total_seconds(),
    )


def to_orders(
    plan: Plan, subscriptions: Iterable[tuple[Subscription, timedelta]], vin: str
) -> diagnostic_plans_pb2.DiagnosticOrders:
    return diagnostic_plans_pb2.DiagnosticOrders(
        plan=to_plan(plan, vin) if plan.revision else None,
        subscriptions=[
            diagnostic_plans_pb2.SignalOrder(
                subscription=to_subscription(one), remaining=to_duration(left.total_seconds())
            )
            for one, left in subscriptions
        ],
    )


def to_batch(batch: Batch, vin: str, subscription_id: str) -> diagnostics_pb2.SignalBatch:
    return diagnostics_pb2.SignalBatch(
        subscription=signal_subscription_name(vin, subscription_id),
        time=to_timestamp(batch.time),
        series=[to_series(series) for series in batch.series],
        errors={error.signal: error.cause for error in batch.errors},
        last=batch.last,
    )


def from_batch(message: diagnostics_pb2.SignalBatch) -> Batch:
    return Batch(
        time=from_timestamp(message.time, field="batch.time"),
        series=tuple(from_series(series) for series in message.series),
        errors=tuple(
            SignalError(signal=signal, cause=message.errors[signal])
            for signal in sorted(message.errors)
        ),
        last=message.last,
    )


def to_gap(known: KnownGap, vin: str) -> diagnostic_plans_pb2.DiagnosticGap:
    return diagnostic_plans_pb2.DiagnosticGap(
        name=diagnostic_gap_name(vin, known.gap.number),
        kind=known.gap.kind,
        count=known.gap.count,
        bytes=known.gap.bytes_dropped,
        ranges=[
            diagnostic_plans_pb2.SequenceRange(first=one.first, last=one.last)
            for one in known.gap.ranges
        ],
        arrived=known.arrived,
        receive_time=to_timestamp(known.receive_time),
    )


def from_gap(message: diagnostic_plans_pb2.DiagnosticGap, *, vin: str) -> Gap:
    named_vin, number = diagnostic_gap_of(message.name, field="gap.name")
    if named_vin != vin:
        raise InvalidFieldError("gap.name", f"{message.name!r} is not of vehicle {vin}")
    return Gap(
        number=number,
        kind=message.kind,
        count=message.count,
        bytes_dropped=message.bytes,
        ranges=tuple(SequenceRange(first=one.first, last=one.last) for one in message.ranges),
    )
