"""What rules about events have in common: a finding that outlives the sweep that saw the event."""

from datetime import timedelta
from itertools import pairwise

from auditor.model.history import History, State
from auditor.model.lookup import Observation
from auditor.policy.base import Params
from auditor.policy.observing import is_changed
from auditor.policy.thresholds import Days


class EventParams(Params):
    """How long an event is spoken of."""

    keep_days: Days = 30
    """For how many days after a sweep saw the event its finding stays open, unless the event is undone before."""

    @property
    def kept(self) -> timedelta:
        """``keep_days`` as a span."""
        return timedelta(days=self.keep_days)


def steps(history: History, observation: Observation) -> list[tuple[State, State]]:
    """Return each state of a token with the one after it, oldest first; the last is the observation's.

    Empty where nothing changed while rules look back. A step was seen when its second state began.
    """
    if not history.states:
        return []
    if not is_changed(observation, history.previous):
        return list(pairwise(history.states))
    now = State(observation.at, observation.outcome, observation.metadata, history.misses)
    return list(pairwise((*history.states, now)))
