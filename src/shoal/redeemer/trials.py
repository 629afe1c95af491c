"""The tries to tell webhooks of redemptions: who is tried when, who is given up. It need not outlive the process."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shoal.redeemer.books import Untold
from shoal.redeemer.rules import Rules
from shoal.units import Instant, later


class Trial(Struct):
    """A notice's tries at one webhook."""

    again_at: Instant = Instant(0)
    tries: int = 0
    posting: bool = False
    fault: str = ""


class Trials:
    """All notices that some webhook has not taken."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._trials: dict[tuple[str, str], Trial] = {}

    def late(self, untold: Mapping[str, Untold], now: Instant) -> list[tuple[str, str, str]]:
        """Notices that were tried for long enough, their webhooks, and what these said last."""
        return [
            (name, hook, trial.fault)
            for (name, hook), trial in self._trials.items()
            if trial.tries
            and not trial.posting
            and later(untold[name].since, self._rules.notice_keep_ms) <= now
        ]

    def begin(self, untold: Mapping[str, Untold], now: Instant) -> list[tuple[str, str]]:
        """Notices to post now and their webhooks, as many as may be on their way at once."""
        room = self._rules.notices_at_once_max - sum(trial.posting for trial in self._trials.values())
        begun: list[tuple[str, str]] = []
        for name, hook in ((name, hook) for name, each in untold.items() for hook in each.hooks):
            if len(begun) >= room:
                break
            trial = self._trials.setdefault((name, hook), Trial())
            if not trial.posting and trial.again_at <= now:
                trial.posting = True
                begun.append((name, hook))
        return begun

    def fail(self, name: str, hook: str, fault: str, now: Instant) -> None:
        """A webhook has not taken a notice; it is tried again, later and later."""
        trial = self._trials.setdefault((name, hook), Trial())
        wait_ms = min(self._rules.notice_again_ms << min(trial.tries, 30), self._rules.notice_again_max_ms)
        trial.tries += 1
        trial.posting = False
        trial.fault = fault
        trial.again_at = later(now, wait_ms)

    def end(self, name: str, hook: str) -> None:
        """A webhook is not tried any more."""
        self._trials.pop((name, hook), None)
