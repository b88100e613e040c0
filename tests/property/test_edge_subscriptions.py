"""Whatever testers ask and an ECU sends: no error, bounded memory, and only who asked gets it."""

from hypothesis import given
from hypothesis import strategies as st

from ecu_sim.edge_subscriptions import Asker, Subscriptions, suppresses

ASKERS = st.sampled_from([Asker(0x0E80, 1), Asker(0x0E81, 2), Asker(0x0E80, 3)])
#: What changes something, with any parameters; and anything.
REQUESTS = st.one_of(
    st.builds(
        lambda service, rest: bytes([service]) + rest,
        st.sampled_from([0x10, 0x11, 0x2A, 0x86]),
        st.binary(max_size=12),
    ),
    st.binary(min_size=1, max_size=12),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["accepted", "heard", "forgotten", "later"]), ASKERS, REQUESTS)
    )
)
def test_subscriptions_take_anything(steps: list[tuple[str, Asker, bytes]]) -> None:
    subscriptions, now = Subscriptions(s3_s=5.0), 0.0
    here: set[Asker] = set()
    for what, asker, data in steps:
        suppresses(data)
        match what:
            case "accepted":
                here.add(asker)
                subscriptions.accepted(asker, data, now=now)
            case "heard":
                assert subscriptions.periodic(data) in {None, *here}
                assert subscriptions.event(data) in {None, *here}
            case "forgotten":
                here = {its for its in here if its.connection != asker.connection}
                subscriptions.forget(asker.connection)
            case _:
                now += data[0]
                subscriptions.expire(now=now)
        due = subscriptions.next_deadline()
        assert due is None or due > now
        assert len(subscriptions._events) <= 16  # noqa: SLF001 the bound itself
