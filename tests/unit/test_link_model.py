"""What a link does to bytes follows from profile, seed and time alone."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest

from protocols.link import NEVER, PROFILES, Link, Radio, UnknownProfileError, profile_named

TUNNEL = PROFILES["tunnel"]
#: Nothing is left to chance, and there is always coverage.
PLAIN = replace(
    PROFILES["lte"],
    up=Radio(bytes_per_s=1000, delay_s=0.5, jitter_s=0.0, loss=0.0),
    down=Radio(bytes_per_s=2000, delay_s=0.25, jitter_s=0.0, loss=0.0),
    covered_s=(1e9, 1e9),
)


def test_bytes_leave_at_the_rate_and_arrive_after_the_delay() -> None:
    link = Link(PLAIN, 1)
    first = link.up.send(500, now_s=10.0)
    assert (first.leaves_s, first.arrives_s) == (10.5, 11.0)
    second = link.up.send(1000, now_s=10.1)  # of another connection: they share the rate
    assert (second.leaves_s, second.arrives_s) == (11.5, 12.0)
    assert link.down.send(500, now_s=10.0).arrives_s == 10.5
    assert (link.up.counts.sent, link.up.counts.on_air) == (1500, 1500)


def test_an_outage_holds_what_is_being_sent() -> None:
    link = Link(replace(PLAIN, covered_s=(10.0, 10.0), outage_s=(3.0, 3.0)), 1)
    assert link.coverage.outage_at(9.99) is None
    assert link.coverage.outage_at(10.0) is not None
    assert link.coverage.outage_at(13.0) is None
    assert link.up.send(2000, now_s=9.0).leaves_s == 14.0
    # Sent within an outage: begins when it is over.
    assert link.down.send(2000, now_s=24.0).leaves_s == 27.0
    # Going back in time is allowed: both directions and all connections ask by turns.
    assert link.coverage.outage_at(10.5) is not None


@pytest.mark.parametrize("name", PROFILES)
def test_the_same_seed_gives_the_same_outages_whatever_goes_over_the_link(name: str) -> None:
    busy, idle = Link(PROFILES[name], 7), Link(PROFILES[name], 7)
    for step in range(200):
        busy.down.send(3000, now_s=float(step))
        busy.connect(now_s=float(step))
    first = list(islice(busy.coverage.outages(0.0), 50))
    assert first == list(islice(idle.coverage.outages(0.0), 50))
    assert first != list(islice(Link(PROFILES[name], 8).coverage.outages(0.0), 50))
    for before, outage in pairwise(first):
        covered_s = outage.start_s - before.end_s
        assert PROFILES[name].covered_s[0] <= covered_s <= PROFILES[name].covered_s[1]
        assert PROFILES[name].outage_s[0] <= outage.duration_s <= PROFILES[name].outage_s[1] + 1e-6


@pytest.mark.parametrize("name", PROFILES)
def test_a_stream_arrives_in_order_and_as_fast_as_rate_loss_and_outages_allow(name: str) -> None:
    profile = PROFILES[name]
    link = Link(replace(profile, covered_s=(1e9, 1e9)), 3)
    now_s = behind_s = 0.0
    for _ in range(2000):
        sent = link.down.send(1400, now_s=now_s, behind_s=behind_s)
        assert sent.arrives_s >= max(behind_s, sent.leaves_s + profile.down.delay_s)
        now_s, behind_s = sent.leaves_s, sent.arrives_s
    again = link.down.counts.on_air / link.down.counts.sent - 1
    assert again == pytest.approx(profile.down.loss / (1 - profile.down.loss), rel=0.5, abs=0.001)
    assert now_s == pytest.approx(link.down.counts.on_air / profile.down.bytes_per_s)


def test_a_lost_segment_comes_a_timeout_later_and_holds_up_what_follows() -> None:
    radio = Radio(bytes_per_s=1_000_000, delay_s=0.1, jitter_s=0.0, loss=0.5)
    link = Link(replace(PLAIN, down=radio), 1)
    behind_s, late = 0.0, 0
    for _ in range(200):
        sent = link.down.send(1000, now_s=100.0, behind_s=behind_s)
        late += sent.arrives_s - sent.leaves_s > 0.1 + 0.2 - 1e-9
        assert sent.arrives_s >= behind_s
        behind_s = sent.arrives_s
    assert late > 100


def test_a_connection_is_reset_by_an_outage_that_lasts_and_not_by_a_short_one() -> None:
    long = replace(PLAIN, covered_s=(10.0, 10.0), outage_s=(5.0, 5.0), life_s=1e12)
    assert Link(replace(long, reset_after_s=4.0), 1).connect(now_s=0.0).reset_s == 14.0
    assert Link(replace(long, reset_after_s=4.0), 1).connect(now_s=16.0).reset_s == 29.0
    # One that begins within an outage is given up before its handshake is done.
    begun = Link(replace(long, reset_after_s=2.0), 1).connect(now_s=11.0)
    assert (begun.reset_s, begun.open_s) == (13.0, 15.75)
    patient = Link(replace(long, reset_after_s=5.0), 1).connect(now_s=0.0)
    assert patient.reset_s > 1e6


def test_connections_are_reset_out_of_the_blue_as_often_as_the_profile_says() -> None:
    link = Link(replace(PLAIN, life_s=100.0), 5)
    lives = [link.connect(now_s=0.0) for _ in range(2000)]
    mean_s = sum(one.reset_s - one.open_s for one in lives) / len(lives)
    assert mean_s == pytest.approx(100.0, rel=0.1)
    assert max(one.reset_s for one in lives) < NEVER


def test_very_many_outages_are_forgotten_and_the_rest_stay_the_same() -> None:
    link = Link(TUNNEL, 1)
    late = next(link.coverage.outages(1_000_000.0))
    assert late.start_s < 1_000_100.0
    assert late in list(islice(Link(TUNNEL, 1).coverage.outages(0.0), 40_000))


def test_an_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownProfileError, match="'5g': no such link; there are lte, 3g, edge"):
        profile_named("5g")
