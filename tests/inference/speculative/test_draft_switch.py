"""Drafting turns itself off: simulated costs, so no test depends on a clock."""

from __future__ import annotations

import pytest

from highnoon.inference.speculative.draft_switch import DraftSwitch

PLAIN = 0.01  # seconds of a plain pass


def run(gained, cost, num_tokens=4000, lowest_speed=0.95, switch=None, reading=0.0, num_unread=0):
    """Tokens a second over those of plain passes, and the fraction of tokens of drafting turns.

    Args:
        gained: Tokens of a drafting pass, of the tokens so far.
        cost: What a drafting pass takes, in plain passes.
        reading: What the draft model takes to read a token of the text, in plain passes.
        num_unread: Tokens of the prompt that it has not read.
    """
    switch = switch or DraftSwitch(lowest_speed)
    tokens, seconds, drafted, slowest = 0.0, 0.0, 0.0, 1.0
    while tokens < num_tokens:
        turn = switch.turn(num_drafts=4, num_unread=num_unread)
        assert turn.passes >= 1
        new = turn.passes * (gained(tokens) if turn.is_drafting else 1)
        took = turn.passes * PLAIN * (cost if turn.is_drafting else 1)
        if turn.is_drafting and num_unread and reading:
            switch.record_reading(num_unread, num_unread * reading * PLAIN)
            seconds += num_unread * reading * PLAIN
        num_unread = 0 if turn.is_drafting else num_unread + turn.passes
        switch.record(turn, turn.passes, new, took)
        tokens, seconds, drafted = tokens + new, seconds + took, drafted + new * turn.is_drafting
        slowest = min(slowest, tokens * PLAIN / seconds)
    return tokens * PLAIN / seconds, drafted / tokens, slowest


@pytest.mark.parametrize("cost", [1.02, 1.5, 3.0, 6.0])
@pytest.mark.parametrize("gained", [1.0, 1.2])
def test_drafts_that_do_not_pay_are_rare_and_never_cost_more_than_is_allowed(cost, gained):
    speed, drafted, slowest = run(lambda _: gained, cost)
    assert slowest > 0.9499
    if gained < cost:
        assert drafted < 0.05 and speed >= 0.95
    assert (speed > 1) == (gained > cost)


@pytest.mark.parametrize(("gained", "cost", "most"), [(3.0, 1.5, 2.0), (2.0, 1.6, 1.25), (5.0, 5.5, 1.0)])
def test_drafts_that_pay_are_used_almost_always(gained, cost, most):
    speed, drafted, slowest = run(lambda _: gained, cost)
    assert slowest > 0.9499
    if gained > cost:
        assert drafted > 0.9 and speed > 1 + 0.8 * (most - 1)
    else:
        assert drafted < 0.1


def test_text_that_stops_repeating_turns_drafts_off_and_text_that_repeats_again_turns_them_on():
    switch = DraftSwitch(0.95)
    run(lambda _: 4.0, 1.5, switch=switch)
    assert switch.is_on
    # What was gained before may be lost now, but not for long: one turn turns drafting off.
    _, drafted, _ = run(lambda _: 1.0, 1.5, switch=switch)
    assert not switch.is_on and drafted < 0.05
    _, drafted, _ = run(lambda _: 4.0, 1.5, switch=switch)
    assert switch.is_on and drafted > 0.7


def test_a_drafting_pass_that_takes_much_longer_than_expected_is_not_repeated_soon():
    switch = DraftSwitch(0.9)
    speed, drafted, _ = run(lambda _: 1.0, 60.0, num_tokens=20_000, switch=switch)
    assert speed > 0.9 and drafted < 0.01


def test_without_a_measurement_nothing_is_drafted():
    switch = DraftSwitch(0.95)
    for _ in range(3):  # turns that compile are not recorded
        assert not switch.turn(4).is_drafting


def test_a_lower_speed_allows_more_probes():
    fractions = [run(lambda _: 1.0, 2.0, num_tokens=1000, lowest_speed=low)[1] for low in (0.99, 0.8)]
    assert fractions[0] <= fractions[1] and fractions[1] > 0


@pytest.mark.parametrize("reading", [0.01, 0.03, 0.5])
def test_what_the_draft_model_reads_is_part_of_the_speed_that_is_kept(reading):
    speed, _, slowest = run(lambda _: 1.0, 1.5, num_tokens=20_000, reading=reading)
    assert speed >= 0.95
    # Before the first reading, of 64 tokens, nothing tells how long it takes.
    assert slowest >= min(0.9499, 64 / (64 * (1 + reading) + 1.5))
    if reading < 0.05:
        assert run(lambda _: 4.0, 1.5, num_tokens=20_000, reading=reading)[0] > 2.0


def test_a_reading_that_the_slack_does_not_cover_waits():
    switch = DraftSwitch(0.95)
    run(lambda _: 1.0, 1.5, num_tokens=2000, switch=switch, reading=0.02)
    switch._left_to_wait = 0
    assert switch.turn(4, num_unread=0).is_drafting
    assert not switch.turn(4, num_unread=100_000).is_drafting


def test_a_later_text_loses_at_most_the_time_of_128_plain_passes_of_what_earlier_ones_gained():
    switch = DraftSwitch(0.95)
    run(lambda _: 4.0, 1.5, num_tokens=100_000, switch=switch)
    switch.turn(4)
    assert switch._slack == pytest.approx(128 * PLAIN)
    # Each pass takes longer than it gains, and the largest loss is spent at once.
    tokens, seconds, lost = 0, 0.0, 0.0
    for _ in range(100):
        turn = switch.turn(4)
        cost = 6.0 if turn.is_drafting else 1.0
        switch.record(turn, turn.passes, turn.passes, turn.passes * PLAIN * cost)
        tokens, seconds = tokens + turn.passes, seconds + turn.passes * PLAIN * cost
        lost = max(lost, seconds - tokens * PLAIN / 0.95)
    assert 0 < lost < (128 + 32 * 5) * PLAIN  # one turn, whose passes are still believed to take 1.5


def test_drafting_that_does_not_pay_is_off_for_64_plain_passes_then_for_128_up_to_1024():
    switch, waits, waited = DraftSwitch(0.5), [], 0
    for _ in range(200):
        turn = switch.turn(4)
        switch.record(turn, turn.passes, turn.passes, turn.passes * PLAIN * (2.0 if turn.is_drafting else 1))
        if turn.is_drafting and turn.passes > 1:
            waits.append(waited)
        waited = 0 if turn.is_drafting and turn.passes > 1 else waited + turn.passes * (not turn.is_drafting)
    assert waits[1:7] == [64, 128, 256, 512, 1024, 1024]
