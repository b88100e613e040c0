"""Network management: every state against every trigger, and each timer on both sides."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.network_management import (
    SPEAKING,
    TRANSITIONS,
    Control,
    NetworkManager,
    Pdu,
    PduError,
    SendPdu,
    State,
    StateChanged,
    Timing,
    Trigger,
    decode,
)

PLAIN = Pdu(9).encode()
ASKING = Pdu(9, Control.REPEAT_MESSAGE_REQUEST).encode()
TIMING = Timing()


def node_in(state: State) -> NetworkManager:
    """A node that has been in this state since 0 s."""
    node = NetworkManager(5)
    if state is State.BUS_SLEEP:
        return node
    wanted = state is State.NORMAL_OPERATION
    ends = {
        State.REPEAT_MESSAGE: 0.0,
        State.NORMAL_OPERATION: TIMING.repeat_s,
        State.READY_SLEEP: TIMING.repeat_s,
        State.PREPARE_BUS_SLEEP: TIMING.repeat_s + TIMING.timeout_s,
    }
    begin = -ends[state]
    node.set_requested(wanted, now=begin)
    node.wake(now=begin)
    while node.state is not state:
        due = node.next_deadline()
        assert due is not None
        node.handle_timeout(now=due)
    return node


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    ("frame", "trigger"), [(PLAIN, Trigger.HEARD), (ASKING, Trigger.REPEAT_ASKED)]
)
def test_a_pdu_has_the_effect_that_the_table_says(
    state: State, frame: bytes, trigger: Trigger
) -> None:
    node = node_in(state)
    node.receive(frame, now=0.1)
    assert node.state is TRANSITIONS.get((state, trigger), state)


@pytest.mark.parametrize("state", State)
def test_a_request_or_a_wake_up_has_the_effect_that_the_table_says(state: State) -> None:
    woken = node_in(state)
    woken.wake(now=0.1)
    assert woken.state is TRANSITIONS.get((state, Trigger.WOKEN), state)
    requested = node_in(state)
    requested.set_requested(True, now=0.1)
    assert requested.state is TRANSITIONS.get((state, Trigger.REQUESTED), state)


@pytest.mark.parametrize(
    ("state", "limit", "follows"),
    [
        (State.REPEAT_MESSAGE, TIMING.repeat_s, State.READY_SLEEP),
        (State.READY_SLEEP, TIMING.timeout_s, State.PREPARE_BUS_SLEEP),
        (State.PREPARE_BUS_SLEEP, TIMING.wait_s, State.BUS_SLEEP),
    ],
)
def test_each_state_ends_at_its_limit_and_not_before(
    state: State, limit: float, follows: State
) -> None:
    node = node_in(state)
    node.handle_timeout(now=limit - 0.001)
    assert node.state is state
    events = node.handle_timeout(now=limit)
    assert events[0] == StateChanged(follows)
    assert node.state is follows


def test_who_needs_the_wire_says_so_every_cycle_and_never_sleeps() -> None:
    node = node_in(State.NORMAL_OPERATION)
    spoken: list[float] = []
    while len(spoken) < 20:
        due = node.next_deadline()
        assert due is not None
        for event in node.handle_timeout(now=due):
            assert event == SendPdu(Pdu(5, Control.ACTIVE_WAKE_UP).encode())
            spoken.append(due)
    steps = [after - before for before, after in pairwise(spoken)]
    assert steps == pytest.approx([TIMING.cycle_s] * 19)
    assert node.state is State.NORMAL_OPERATION


def test_another_nodes_pdu_puts_the_end_of_ready_sleep_off() -> None:
    node = node_in(State.READY_SLEEP)
    node.receive(PLAIN, now=1.9)
    assert node.handle_timeout(now=3.899) == []
    assert node.handle_timeout(now=3.9) == [StateChanged(State.PREPARE_BUS_SLEEP)]


def test_who_wakes_a_sleeping_wire_asks_the_others_to_show_themselves() -> None:
    node = NetworkManager(5)
    asking = Pdu(5, Control.REPEAT_MESSAGE_REQUEST | Control.ACTIVE_WAKE_UP)
    assert node.set_requested(True, now=0.0) == [
        StateChanged(State.REPEAT_MESSAGE),
        SendPdu(asking.encode()),
    ]


@pytest.mark.parametrize("state", [State.NORMAL_OPERATION, State.READY_SLEEP])
def test_who_is_asked_shows_itself_at_once_but_nobody_makes_it_speak_faster(state: State) -> None:
    """A node that asks a thousand times a second gets one answer, and the cycle."""
    node = node_in(state)
    spoken = [
        number / 1000
        for number in range(1000)
        for event in (
            *node.receive(ASKING, now=number / 1000),
            *node.handle_timeout(now=number / 1000),
        )
        if isinstance(event, SendPdu)
    ]
    assert spoken == [0.0, 0.5]


@pytest.mark.parametrize("state", State)
def test_a_node_that_does_not_speak_has_no_pdu_due(state: State) -> None:
    node = node_in(state)
    speaks = any(
        isinstance(event, SendPdu) for event in node.handle_timeout(now=TIMING.cycle_s + 0.01)
    )
    assert speaks is (state in SPEAKING)


def test_nodes_that_nobody_needs_sleep_together() -> None:
    nodes = [NetworkManager(number) for number in range(4)]
    slept: dict[int, float] = {}
    for number, node in enumerate(nodes):
        node.wake(now=number * 0.2)
    while len(slept) < 4:
        due, number = min(
            (at, number)
            for number, node in enumerate(nodes)
            if (at := node.next_deadline()) is not None
        )
        for event in nodes[number].handle_timeout(now=due):
            if isinstance(event, SendPdu):
                for other in nodes:
                    if other is not nodes[number]:
                        other.receive(event.data, now=due)
            elif event.state is State.BUS_SLEEP:
                slept[number] = due
    assert max(slept.values()) - min(slept.values()) < TIMING.wait_s


@given(data=st.binary(max_size=12))
def test_any_bytes_are_a_pdu_or_ignored(data: bytes) -> None:
    node = node_in(State.NORMAL_OPERATION)
    node.receive(data, now=0.1)
    try:
        pdu = decode(data)
    except PduError:
        assert node.state is State.NORMAL_OPERATION
    else:
        assert decode(pdu.encode()) == pdu
