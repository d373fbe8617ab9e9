"""Turns drafting off where it does not pay, from measured times."""

from __future__ import annotations

import dataclasses

_PROBE, _LONGEST_TURN = 4, 32
_FIRST_WAIT, _LONGEST_WAIT = 64, 1024
_TURNS_BETWEEN_MEASURES, _MEASURE = 32, 16
_NEWEST = 0.5  # weight of a new measurement in a mean
_MOST_SLACK = 128  # plain passes


@dataclasses.dataclass(frozen=True)
class Turn:
    """What runs next: passes with or without drafts.

    Args:
        is_drafting: Whether the passes have drafts.
        passes: At most this many.
    """

    is_drafting: bool
    passes: int


class DraftSwitch:
    """Chooses between drafting and plain passes, and keeps a fraction of the speed of plain ones.

    ```
    slack = c tokens / lowest_speed - seconds         c: measured seconds a token of plain passes
    ```

    over all measured turns and readings. The first drafting pass measures what one costs, and the first
    reading, of text that the draft model has not read, what a token of it costs. Drafting passes run only if
    the slack covers the reading and what they lose should every draft be wrong. A reading that takes longer
    than was estimated is charged too, so it is earned back before the next one. Plain passes earn slack;
    drafting that pays earns more, and continues. After a turn whose passes cost more than plain ones would
    have, drafting is off for 64 plain passes before the next try; each further such turn doubles this, up to
    1,024.

    So `lowest_speed` is kept on average over generations. The slack is limited to the time of 128 plain
    passes besides the next reading, which is the most that a later text can lose of what earlier ones gained.

    Args:
        lowest_speed: Fraction of the tokens a second of plain passes, in (0, 1).

    Example:

    ```python
    from highnoon.inference.speculative.draft_switch import DraftSwitch, Turn

    switch = DraftSwitch(lowest_speed=0.95)
    assert switch.turn(num_drafts=4, num_unread=0) == Turn(is_drafting=False, passes=64)
    switch.record(Turn(False, 64), num_passes=64, num_tokens=64, seconds=0.64)
    ```
    """

    def __init__(self, lowest_speed: float) -> None:
        self.lowest_speed = lowest_speed
        self._plain_cost: float | None = None  # seconds a token
        self._draft_cost: float | None = None  # seconds a pass
        self._reading_cost: float | None = None  # seconds a token of the text, the least that was measured
        self._tokens_a_pass = 1.0  # of plain passes, over all rows
        self._slack = 0.0  # seconds
        self._left_to_wait, self._wait = _FIRST_WAIT, _FIRST_WAIT
        self._is_on, self._turns_since_measure = False, 0

    @property
    def is_on(self) -> bool:
        """Whether the last drafting turn cost less than plain passes would have."""
        return self._is_on

    def turn(self, num_drafts: int, num_unread: int = 0) -> Turn:
        """Returns what to run next.

        Args:
            num_drafts: Tokens of each draft.
            num_unread: Tokens of the text that the draft model must read before it drafts.
        """
        if self._plain_cost is None:
            return Turn(False, _FIRST_WAIT)
        reading = num_unread * (self._reading_cost or 0.0)
        most = _MOST_SLACK * self._plain_cost * self._tokens_a_pass
        self._slack = min(self._slack, most + reading)
        if self._is_on and self._turns_since_measure >= _TURNS_BETWEEN_MEASURES:
            return Turn(False, _MEASURE)
        if not self._is_on and self._left_to_wait > 0:
            return Turn(False, self._left_to_wait)
        passes = int(min((self._slack - reading) / self._largest_loss(num_drafts), _LONGEST_TURN))
        probe = 1 if self._draft_cost is None else _PROBE
        if passes >= (1 if self._is_on else probe):
            return Turn(True, passes if self._is_on else probe)
        return Turn(False, _MEASURE)

    def _largest_loss(self, num_drafts: int) -> float:
        """Seconds that a drafting pass loses at most: with all drafts wrong it is a plain one."""
        assert self._plain_cost is not None
        plain = self._plain_cost * self._tokens_a_pass
        # Before the first one: as if each token that it drafts and checks took as long as a plain pass.
        cost = plain * (2 + num_drafts) if self._draft_cost is None else self._draft_cost
        return max(cost - plain / self.lowest_speed, 0.01 * plain)

    def record_reading(self, num_tokens: int, seconds: float) -> None:
        """Takes the time in which the draft model read text; one that compiled must not be recorded.

        Args:
            num_tokens: Tokens of the text, at least 1.
            seconds: What they took.
        """
        self._slack -= seconds
        # Short readings cost more a token; the mean would forbid a long one that the slack can pay.
        cost = seconds / num_tokens
        self._reading_cost = cost if self._reading_cost is None else min(self._reading_cost, cost)

    def record(self, turn: Turn, num_passes: int, num_tokens: int, seconds: float) -> None:
        """Takes the time of a turn; one that compiled something must not be recorded.

        Args:
            turn: What ran.
            num_passes: Passes that ran.
            num_tokens: New tokens of all rows.
            seconds: What they took.
        """
        if not num_passes or not num_tokens:
            return
        is_first = turn.is_drafting and self._draft_cost is None
        if turn.is_drafting:
            self._draft_cost = _mean(self._draft_cost, seconds / num_passes)
        else:
            self._plain_cost = _mean(self._plain_cost, seconds / num_tokens)
            self._tokens_a_pass = num_tokens / num_passes
        assert self._plain_cost is not None
        allowed = self._plain_cost * num_tokens / self.lowest_speed
        self._slack += allowed - seconds
        if not turn.is_drafting:
            self._left_to_wait -= num_passes
            self._turns_since_measure = 0
            return
        if is_first:  # one pass tells what a pass costs, not what drafts gain
            return
        self._turns_since_measure += 1
        self._is_on = seconds < self._plain_cost * num_tokens
        if self._is_on:
            self._wait = _FIRST_WAIT
        else:
            self._left_to_wait = self._wait
            self._wait = min(2 * self._wait, _LONGEST_WAIT)


def _mean(known: float | None, new: float) -> float:
    return new if known is None else (1 - _NEWEST) * known + _NEWEST * new
