"""The redeemer decides: which transaction the operator's account sends next, with which nonce and at what price.

A transaction is a fact before it is sent, so whoever takes up its journal sends
the same one again. What the chain shows counts once it lies deep enough. Each
winning ticket is redeemed once, or it is said why not; none at a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import ClassVar

from shoal.errors import Untrusted
from shoal.ids import JobId, NodeId
from shoal.machine import (
    Absent,
    Alarm,
    Connected,
    Disconnected,
    Event,
    Heard,
    Restarted,
    Send,
    Tick,
    Value,
)
from shoal.money.ticket import uint256
from shoal.redeemer import fees
from shoal.redeemer.books import Books, Told
from shoal.redeemer.events import (
    Broadcast,
    Draft,
    Look,
    Looked,
    Mined,
    Post,
    Posted,
    Sent,
    Silent,
    Weigh,
    Weighed,
)
from shoal.redeemer.intent import (
    Attempt,
    Confirmed,
    Displaced,
    Fill,
    Intent,
    Pay,
    Phase,
    Redeem,
    Refused,
    Reverted,
    Signed,
    Taken,
    What,
    fill_id,
    pay_id,
    redeem_id,
)
from shoal.redeemer.rules import Rules
from shoal.redeemer.standing import Standing, most_wei, report, revert_reason, which
from shoal.redeemer.trials import Trials
from shoal.units import Instant, later
from shoal.wire import words

#: Signs a draft: the bytes to send and their hash. The same draft gives the same.
Sign = Callable[[Draft], tuple[bytes, str]]

#: What the contract may say of a ticket or a batch that will pass, or may; everything else is its last word.
PASSING = (
    "current round is not initialized",
    "sender is unlocked",
    "sender deposit and reserve are zero",
    "ticket creationRound does not have a block hash",
    "insufficient funds",
)

VOID_GAS = 21_000


class RedeemerMachine(Books):
    """Decides over the books, by what it sees of the chain."""

    def __init__(self, rules: Rules, *, sign: Sign, hooks: tuple[str, ...] = ()) -> None:
        super().__init__(rules)
        self._sign = sign
        self._hooks = hooks
        self.view: Looked | None = None
        #: Why the chain does not answer, "" while it does.
        self.silence = ""
        self._looking = False
        self._look_at = Instant(0)
        self._silent_ms = rules.tick_ms
        self._standings: dict[str, Standing] = {}
        self._trials = Trials(rules)
        self._orchestrators: set[NodeId] = set()
        self._gap_since: Instant | None = None

    # Orchestrators

    def _on_connected(self, event: Connected, now: Instant) -> None:
        if event.role == "orchestrator":
            self._orchestrators.add(event.peer)

    def _on_disconnected(self, event: Disconnected, now: Instant) -> None:
        self._orchestrators.discard(event.peer)

    def _on_heard(self, event: Heard, now: Instant) -> None:
        listen = self._HEARD.get(type(event.word))
        if listen is None or event.peer not in self._orchestrators:
            raise Untrusted(f"{event.peer} sent {type(event.word).__name__} to a redeemer")
        listen(self, event.peer, event.word, now)

    def _hear_winner(self, peer: NodeId, word: words.Winner, now: Instant) -> None:
        self._take(redeem_id(word.winning.ticket_hash), peer, Redeem(word.winning, word.pipeline), now)

    def _hear_payout(self, peer: NodeId, word: words.Payout, now: Instant) -> None:
        self._take(pay_id(word.batch), peer, Pay(word.batch, word.payees), now)

    def _take(self, name: str, peer: NodeId, what: What, now: Instant) -> None:
        known = self.known(name)
        if known is None:
            if len(self.intents) >= self.rules.open_max:
                self.emit(Alarm(f"{name} is not taken: {len(self.intents)} others are open"))
                return
            self.decide(Taken(name, peer, what), now)
        elif known.what != what and isinstance(what, Pay):
            raise Untrusted(f"{peer} gives {name} another content than it had")
        self._tell(name, peer)

    def _tell(self, name: str, peer: NodeId | None = None) -> None:
        """Say how far an intent is to the one who asked for it."""
        intent = self.known(name)
        assert intent is not None
        to = peer or intent.peer
        if to and (word := report(intent, self.why(intent))) is not None:
            self.emit(Send(to, word))

    # Time

    def _on_tick(self, event: Tick, now: Instant) -> None:
        self._look(now)
        self._post(now)

    def _on_restarted(self, event: Restarted, now: Instant) -> None:
        """The chain is looked at, and what it does not have is sent again: whether it arrived is not known."""
        for name, untold in list(self.untold.items()):
            for hook in untold.hooks:
                if hook not in self._hooks:
                    self.decide(Told(name, hook, "this webhook is not in the settings any more"), now)
        self._look(now)
        self._post(now)

    def _on_absent(self, event: Absent, now: Instant) -> None:
        """The chain is looked at anew in any case."""

    def _look(self, now: Instant) -> None:
        if not self._looking and self._look_at <= now and self.intents:
            self._looking = True
            ours = [(a.transaction, a.nonce) for i in self.intents.values() for a in i.attempts]
            self.emit(Look(tuple(ours)))

    # The chain

    def _on_silent(self, event: Silent, now: Instant) -> None:
        self._looking = False
        if not self.silence:
            self.emit(Alarm(f"the chain does not answer, and everything waits: {event.why}"))
        self.silence = event.why
        self._look_at = later(now, self._silent_ms)
        self._silent_ms = min(2 * self._silent_ms, self.rules.silent_max_ms)

    def _on_looked(self, event: Looked, now: Instant) -> None:
        self._looking = False
        self._look_at = later(now, self.rules.tick_ms)
        if self.silence:
            self.silence, self._silent_ms = "", self.rules.tick_ms
            self.emit(Alarm("the chain answers again"))
        self.view = event
        mined = {each.transaction: each for each in event.mined}
        for intent in list(self.intents.values()):
            if intent.id not in self.aside:
                self.guard(JobId(intent.id), partial(self._judge, intent, mined, event, now), now)
        self._fill(event, now)
        self._weigh(event, now)

    def _judge(self, intent: Intent, mined: Mapping[str, Mined], view: Looked, now: Instant) -> None:
        """What the chain says about the transactions of one intent."""
        standing = self._standing(intent.id)
        standing.mined = found = which(intent, mined)
        if found is not None:
            # The contract has taken it, whatever it said; if that is undone, it is asked anew.
            standing.verdict = ""
        if found is not None and view.head - found.block >= self.rules.confirmations:
            self._settle(intent, found, now)
        elif intent.phase is Phase.SENT and found is None:
            if view.nonce_deep > intent.last.nonce:
                self.decide(Displaced(intent.id), now)
                self._tell(intent.id)
            elif later(standing.broadcast_at, self.rules.rebroadcast_ms) <= now:
                self._broadcast(intent, now)

    def _hooks_with_room(self, intent: str) -> tuple[str, ...]:
        """Who is told of a redemption: nobody, and loudly, while too many notices wait already."""
        if self._hooks and len(self.untold) >= self.rules.notices_max:
            self.emit(Alarm(f"no webhook is told of {intent}: {len(self.untold)} notices wait already"))
            return ()
        return self._hooks

    def _settle(self, intent: Intent, found: Mined, now: Instant) -> None:
        """A transaction of this intent lies deep enough."""
        attempt = next(a for a in intent.attempts if a.transaction == found.transaction)
        fee_wei = uint256(found.fee_wei)
        brought = found.wei > 0 or not isinstance(intent.what, Redeem)
        if found.good and brought and not attempt.void:
            hooks = self._hooks_with_room(intent.id)
            wei = uint256(found.wei)
            self.decide(Confirmed(intent.id, found.transaction, found.block, wei, fee_wei, hooks), now)
            self._ended(intent.id)
            self._post(now)
        else:
            why = revert_reason(found, attempt)
            self.decide(Reverted(intent.id, found.transaction, fee_wei, why), now)
            if isinstance(intent.what, Fill):
                self._refuse(intent.id, "the nonce is used up", now)
            elif self.intents[intent.id].reverts >= self.rules.reverts_max:
                self._refuse(intent.id, f"{why}, {self.rules.reverts_max} times", now)
            else:
                self._standing(intent.id).mined = None
                self._tell(intent.id)

    def _fill(self, view: Looked, now: Instant) -> None:
        """Use up a nonce that another program of this account left open under ours."""
        gap = bool(self.nonces) and view.nonce < min(self.nonces)
        if not gap:
            self._gap_since = None
        elif self._gap_since is None:
            self._gap_since = now
        elif later(self._gap_since, self.rules.stuck_ms) <= now:
            fills = [i.what for i in self.intents.values() if isinstance(i.what, Fill)]
            if Fill(view.nonce) not in fills:
                self.decide(Taken(self._fill_id(view.nonce), NodeId(""), Fill(view.nonce)), now)

    def _fill_id(self, nonce: int) -> str:
        """A name that no filling of this nonce has had: the chain may have taken one back."""
        return next(name for n in count() if self.known(name := fill_id(nonce, n)) is None)

    # What to do next

    def _weigh(self, view: Looked, now: Instant) -> None:
        """Have the most urgent intents weighed that could be acted on now."""
        ready = [i for i in self.intents.values() if self._ready(i, view, now)]
        ready.sort(key=lambda intent: intent.urgency)
        for intent in ready[: self.rules.weighed_max]:
            standing = self._standing(intent.id)
            if isinstance(intent.what, Fill):
                self.guard(JobId(intent.id), partial(self._sign_fill, intent, intent.what, view, now), now)
            else:
                standing.weighing = True
                nonce = intent.last.nonce if intent.phase is Phase.SENT else None
                self.emit(Weigh(intent.id, intent.what, nonce))

    def _ready(self, intent: Intent, view: Looked, now: Instant) -> bool:
        standing = self._standing(intent.id)
        if standing.weighing or standing.again_at > now or intent.id in self.aside:
            return False
        if intent.phase is Phase.SENT:
            stuck = later(intent.last.at, self.rules.stuck_ms) <= now
            return stuck and standing.mined is None and intent.replacements < self.rules.replacements_max
        if isinstance(intent.what, Redeem):
            if view.block < intent.what.winning.expiration_block:
                standing.why = f"its number stays secret until block {intent.what.winning.expiration_block}"
                return False
            if not view.round_initialised:
                standing.why = "the current round is not initialized"
                return False
        return len(self.nonces) < self.rules.in_flight_max or isinstance(intent.what, Fill)

    def _sign_fill(self, intent: Intent, what: Fill, view: Looked, now: Instant) -> None:
        if intent.phase is Phase.WAITING and view.nonce > what.nonce:
            self._refuse(intent.id, "the nonce is used up", now)
        else:
            self._sign_void(intent, view, now)

    def _on_weighed(self, event: Weighed, now: Instant) -> None:
        intent, view = self.intents.get(event.id), self.view
        if intent is None or view is None:
            return
        standing = self._standing(intent.id)
        standing.weighing = False
        standing.again_at = later(now, self.rules.again_ms)
        if event.fault:
            standing.why = event.fault
        if standing.mined is not None:
            return
        if event.rejected and not event.fault.startswith(PASSING):
            self._condemn(intent, event.fault, view, now)
            return
        standing.verdict = ""
        if event.fault:
            return
        if intent.phase is Phase.WAITING and len(self.nonces) >= self.rules.in_flight_max:
            standing.again_at = now
            return
        self._sign_attempt(intent, event, view, now)

    def _condemn(self, intent: Intent, why: str, view: Looked, now: Instant) -> None:
        """The contract will not have it. That is final once it has said so for long enough."""
        standing = self._standing(intent.id)
        if standing.verdict != why:
            standing.verdict, standing.verdict_head = why, view.head
        if view.head - standing.verdict_head < self.rules.confirmations:
            return
        if intent.phase is Phase.WAITING:
            before = f"; before that: {standing.held}" if standing.held else ""
            self._refuse(intent.id, why + before, now)
        else:  # its transaction would only burn gas; an empty one in its place burns less
            self._sign_void(intent, view, now)

    def _sign_attempt(self, intent: Intent, weighed: Weighed, view: Looked, now: Instant) -> None:
        standing = self._standing(intent.id)
        gas = weighed.gas + weighed.gas * self.rules.gas_margin_ppm // 1_000_000
        if gas > self.rules.gas_max:
            standing.why = f"it would take {gas} gas, and {self.rules.gas_max} are the most"
            return
        ceiling_wei = self.rules.gas_price_max_wei
        if isinstance(intent.what, Redeem):
            ceiling_wei = min(ceiling_wei, fees.highest(weighed.wei, gas))
        fee = fees.choose(view, ceiling_wei, self._last(intent), self.rules.raise_ppm)
        if isinstance(fee, str):
            loss = f"it pays {weighed.wei} wei and its gas would cost more: "
            standing.why = loss + fee if ceiling_wei < self.rules.gas_price_max_wei else fee
            standing.held = standing.why
            return
        value_wei = intent.what.wei if isinstance(intent.what, Pay) else 0
        if not self._affordable(intent, value_wei + gas * fee.max_fee_wei, view):
            standing.why = standing.held = f"the account's {view.balance_wei} wei do not cover it"
            return
        self._draft(intent, gas, fee, view, now, void=False)

    def _sign_void(self, intent: Intent, view: Looked, now: Instant) -> None:
        fee = fees.choose(view, self.rules.gas_price_max_wei, self._last(intent), self.rules.raise_ppm)
        standing = self._standing(intent.id)
        standing.again_at = later(now, self.rules.again_ms)
        if isinstance(fee, str):
            standing.why = fee
        elif self._affordable(intent, VOID_GAS * fee.max_fee_wei, view):
            self._draft(intent, VOID_GAS, fee, view, now, void=True)

    def _draft(
        self, intent: Intent, gas: int, fee: fees.Fee, view: Looked, now: Instant, *, void: bool
    ) -> None:
        """Sign a transaction, remember it, send it: in this order."""
        nonce = self._nonce(intent, view)
        draft = Draft(intent.what, nonce, gas, fee.max_fee_wei, fee.tip_wei, void)
        raw, transaction = self._sign(draft)
        attempt = Attempt(transaction, raw, nonce, gas, fee.max_fee_wei, fee.tip_wei, now, void)
        self.decide(Signed(intent.id, attempt), now)
        self._standing(intent.id).why = ""
        self._broadcast(self.intents[intent.id], now)
        self._tell(intent.id)

    def _nonce(self, intent: Intent, view: Looked) -> int:
        if intent.phase is Phase.SENT:
            return intent.last.nonce
        if isinstance(intent.what, Fill):
            return intent.what.nonce
        return max(view.nonce, max(self.nonces, default=-1) + 1)

    def _last(self, intent: Intent) -> Attempt | None:
        return intent.last if intent.phase is Phase.SENT else None

    def _affordable(self, intent: Intent, cost_wei: int, view: Looked) -> bool:
        """Whether the account can pay for this besides all that is on its way."""
        others = (self.intents[name] for name in self.nonces.values() if name != intent.id)
        promised = sum(most_wei(other) for other in others if self._standing(other.id).mined is None)
        short = cost_wei + promised > view.balance_wei
        if short and not self._standing(intent.id).poor:
            wei = f"{view.balance_wei} wei, of which {promised} are promised"
            self.emit(Alarm(f"{intent.id} needs {cost_wei} wei, and the account has {wei}: send it some"))
        self._standing(intent.id).poor = short
        return not short

    def _broadcast(self, intent: Intent, now: Instant) -> None:
        self._standing(intent.id).broadcast_at = now
        self.emit(Broadcast(intent.last))

    def _on_sent(self, event: Sent, now: Instant) -> None:
        for name in self.nonces.values():
            if self.intents[name].last.transaction == event.transaction:
                self._standing(name).why = event.fault

    def _refuse(self, name: str, why: str, now: Instant) -> None:
        self.decide(Refused(name, why), now)
        self._ended(name)

    def _ended(self, name: str) -> None:
        self._standings.pop(name, None)
        self._tell(name)

    def _standing(self, name: str) -> Standing:
        return self._standings.setdefault(name, Standing())

    def why(self, intent: Intent) -> str:
        """Why an intent is not done yet, or never will be."""
        if not intent.open:
            return intent.why
        standing = self._standing(intent.id)
        return self.aside.get(intent.id) or standing.verdict or standing.why or self.silence

    def mined(self, intent: Intent) -> Mined | None:
        """Its transaction, if the chain has taken it already."""
        return self._standing(intent.id).mined if intent.open else None

    # Webhooks

    def _post(self, now: Instant) -> None:
        """Tell of redemptions those who have not heard of them."""
        for name, hook, fault in self._trials.late(self.untold, now):
            self._give_up(name, hook, fault, now)
        for name, hook in self._trials.begin(self.untold, now):
            self.emit(Post(hook, self.untold[name].notice))

    def _on_posted(self, event: Posted, now: Instant) -> None:
        if event.id not in self.untold or event.hook not in self.untold[event.id].hooks:
            return
        if not event.fault:
            self._trials.end(event.id, event.hook)
            self.decide(Told(event.id, event.hook), now)
        elif event.gone:
            self._give_up(event.id, event.hook, event.fault, now)
        else:
            self._trials.fail(event.id, event.hook, event.fault, now)
        self._post(now)

    def _give_up(self, name: str, hook: str, fault: str, now: Instant) -> None:
        self._trials.end(name, hook)
        self.emit(Alarm(f"webhook {hook} is not told of {name}: {fault}"))
        self.decide(Told(name, hook, fault), now)

    # The host

    handlers: ClassVar[Mapping[type[Event], Callable[..., None]]] = {
        **Books.fact_handlers,
        Connected: _on_connected,
        Disconnected: _on_disconnected,
        Heard: _on_heard,
        Tick: _on_tick,
        Restarted: _on_restarted,
        Absent: _on_absent,
        Looked: _on_looked,
        Silent: _on_silent,
        Weighed: _on_weighed,
        Sent: _on_sent,
        Posted: _on_posted,
    }

    _HEARD: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Winner: _hear_winner,
        words.Payout: _hear_payout,
    }
