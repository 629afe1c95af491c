"""The houses where money is at stake, as simulated nodes: they sign, watch the chain, and redeem.

Keys and signatures of tickets are real ones. What a service does out of its
machine's sight (signing, polling, asking a node) is done here with delay, and
now and then not at all.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from random import Random
from typing import Any

from msgspec import Struct

from shoal.errors import Failed
from shoal.gateway.config import Rules as GatewayRules
from shoal.gateway.events import SigningFailed, SignTickets, TicketsSigned
from shoal.gateway.machine import GatewayMachine
from shoal.ids import NodeId
from shoal.machine import Effect, Event, Machine
from shoal.money.funds import FundsSeen
from shoal.money.payee import Payee
from shoal.money.payer import Payer, PayerRules
from shoal.money.terms import PayeeRules
from shoal.money.ticket import WORD_BYTES, SignedNonce
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.orchestrator.machine import OrchestratorMachine
from shoal.orchestrator.payments import Watch
from shoal.redeemer.events import (
    Broadcast,
    Draft,
    Look,
    Looked,
    Mined,
    Notice,
    Post,
    Posted,
    Sent,
    Silent,
    Weigh,
    Weighed,
)
from shoal.redeemer.intent import Fill, Redeem
from shoal.redeemer.machine import RedeemerMachine
from shoal.redeemer.rules import Rules as RedeemerRules
from shoal.runtime.host import Rules
from shoal.runtime.keys import NodeKey, recover_hash
from shoal.runtime.virtual import Network
from shoal.sim.broker import Rejected
from shoal.sim.chain import PAY_GAS, REDEEM_GAS, Transaction, VirtualChain, written
from shoal.sim.houses import GatewayNode, OrchestratorNode, sign, verify
from shoal.sim.node import Node, Trace
from shoal.wire.words import Fault

NO_ANSWER = "the node does not answer"


@lru_cache(maxsize=64)
def key_of(name: str) -> NodeKey:
    """The key of whoever has this name, the same in every world."""
    return NodeKey(sha256(b"shoal sim " + name.encode()).digest())


class Manners(Struct, kw_only=True):
    """How a node gets on with its signer and with the chain."""

    poll_ms: int = 1_000
    sign_max_ms: int = 20
    #: Signatures that fail, and those of which nothing is ever heard.
    sign_fail_ppm: int = 0
    sign_lost_ppm: int = 0
    #: What is asked of the chain is answered after so long at most.
    ask_max_ms: int = 200
    #: Notices that a webhook does not take.
    hook_fail_ppm: int = 0


class Outlook(Struct, frozen=True):
    """The chain, and how a node gets on with it."""

    chain: VirtualChain
    manners: Manners


class Eye:
    """Looks at the chain for one process, by polling; tells what is new."""

    def __init__(self, node: Node, outlook: Outlook, rng: Random) -> None:
        self._node = node
        self._chain, self._manners = outlook.chain, outlook.manners
        self._rng = rng
        self._told: Event | None = None
        self._senders: dict[NodeId, FundsSeen | None] = {}
        self._node.life.after(rng.randint(0, self._manners.poll_ms), self._poll)

    def watch(self, sender: NodeId) -> None:
        """Look at a sender's funds from now on."""
        if sender not in self._senders:
            self._senders[sender] = None
            self._node.life.after(self._rng.randint(1, self._manners.ask_max_ms), self._look)

    def _poll(self) -> None:
        self._look()
        self._node.life.after(self._manners.poll_ms, self._poll)

    def _look(self) -> None:
        if not self._chain.up:
            return
        seen = self._chain.seen()
        if seen != self._told:
            self._told = seen
            self._node.post(seen)
        for sender, told in list(self._senders.items()):
            funds = self._chain.funds_seen(sender, self._node.name)
            if funds != told:
                self._senders[sender] = funds
                self._node.post(funds)


class PayingGateway(GatewayNode):
    """A gateway with a purse: its signer is slow at times, or does not answer."""

    def __init__(
        self,
        key: NodeKey,
        network: Network,
        rng: Random,
        trace: Trace,
        rules: Rules,
        gateway_rules: GatewayRules,
        *,
        outlook: Outlook,
        payer_rules: PayerRules,
    ) -> None:
        super().__init__(key.id, network, rng, trace, rules, gateway_rules)
        self.key = key
        self._outlook = outlook
        self.chain, self.manners = outlook.chain, outlook.manners
        self.payer_rules = payer_rules
        self._rng = rng

    def machine(self) -> Machine[Any]:
        """A gateway that can pay."""
        return GatewayMachine(self.gateway_rules, verify=verify, payer=Payer(self.name, self.payer_rules))

    def begun(self) -> None:
        """Look at the chain, and at our own money there."""
        super().begun()
        Eye(self, self._outlook, self._rng).watch(self.name)

    def perform(self, effect: Effect) -> None:
        """Have tickets signed; everything else as any gateway."""
        if not isinstance(effect, SignTickets):
            super().perform(effect)
            return
        luck = self._rng.randrange(1_000_000)
        manners = self.manners
        delay_ms = self._rng.randint(0, manners.sign_max_ms)
        if luck < manners.sign_lost_ppm:
            return
        if luck < manners.sign_lost_ppm + manners.sign_fail_ppm:
            fault = Fault(Failed.code, "the signer is out of order")
            self.life.after(delay_ms, lambda: self.post(SigningFailed(effect.orchestrator, fault)))
            return
        tickets = tuple(
            SignedNonce(ticket.nonce, self.key.sign_hash(ticket.signed_hash)) for ticket in effect.tickets
        )
        signed = TicketsSigned(effect.orchestrator, effect.params, tickets)
        self.life.after(delay_ms, lambda: self.post(signed))


class PaidOrchestrator(OrchestratorNode):
    """An orchestrator that is paid ahead."""

    def __init__(
        self,
        key: NodeKey,
        network: Network,
        rng: Random,
        trace: Trace,
        rules: Rules,
        orchestrator_rules: OrchestratorRules,
        *,
        outlook: Outlook,
        payee_rules: PayeeRules | None,
    ) -> None:
        """Without `payee_rules` it trusts everybody, though there is a chain."""
        super().__init__(key.id, network, rng, trace, rules, orchestrator_rules)
        self.key = key
        self._outlook = outlook
        self.chain, self.manners = outlook.chain, outlook.manners
        self.payee_rules = payee_rules
        self._rng = rng
        self._eye: Eye | None = None

    def machine(self) -> Machine[Any]:
        """An orchestrator that judges tickets."""
        return OrchestratorMachine(
            self.orchestrator_rules,
            node=self.name,
            sign=lambda data: sign(self.name, data),
            payee=self.payee(),
        )

    def payee(self) -> Payee | None:
        """One that remembers nothing yet; its secret outlives it."""
        if self.payee_rules is None:
            return None
        return Payee(
            self.name,
            self.payee_rules,
            secret=self.key.secret_for(b"shoal tickets"),
            draw_seed=lambda: self._rng.randbytes(WORD_BYTES),
            recover=recover_hash,
        )

    def begun(self) -> None:
        """Look at the chain."""
        if self.payee_rules is not None:
            self._eye = Eye(self, self._outlook, self._rng)

    def perform(self, effect: Effect) -> None:
        """Look at a sender's money."""
        assert isinstance(effect, Watch), f"an orchestrator cannot {effect}"
        assert self._eye is not None
        self._eye.watch(effect.sender)


class RedeemerNode(Node):
    """A redeemer, the node that it asks, and a webhook."""

    role = "redeemer"

    def __init__(
        self,
        key: NodeKey,
        network: Network,
        rng: Random,
        trace: Trace,
        rules: Rules,
        redeemer_rules: RedeemerRules,
        *,
        outlook: Outlook,
    ) -> None:
        super().__init__(key.id, network, rng, trace, rules)
        self.redeemer_rules = redeemer_rules
        self._outlook = outlook
        self.chain, self.manners = outlook.chain, outlook.manners
        #: What the webhook has taken.
        self.told: list[Notice] = []
        self._rng = rng

    def machine(self) -> Machine[Any]:
        """A redeemer that knows nothing yet."""
        return RedeemerMachine(self.redeemer_rules, sign=self._sign, hooks=("hook",))

    @property
    def state(self) -> RedeemerMachine:
        """What the machine knows."""
        assert self.host is not None
        assert isinstance(self.host.machine, RedeemerMachine)
        return self.host.machine

    def _sign(self, draft: Draft) -> tuple[bytes, str]:
        what = None if draft.void or isinstance(draft.what, Fill) else draft.what
        return written(Transaction(self.name, draft.nonce, draft.gas, draft.max_fee_wei, draft.tip_wei, what))

    def perform(self, effect: Effect) -> None:
        """Ask the chain, or tell the webhook; the answer is as of when it is given."""
        match effect:
            case Look():
                self._soon(lambda: self._look(effect))
            case Weigh():
                self._soon(lambda: self._weigh(effect))
            case Broadcast():
                self._soon(lambda: self._broadcast(effect))
            case Post():
                self._soon(lambda: self._post(effect))
            case _:
                raise AssertionError(f"a redeemer cannot {effect}")

    def _soon(self, call: Any) -> None:
        self.life.after(self._rng.randint(1, self.manners.ask_max_ms), call)

    def _look(self, effect: Look) -> None:
        chain, head = self.chain, self.chain.head
        if not chain.up:
            self.post(Silent(NO_ANSWER))
            return
        mined = []
        for name, _ in effect.transactions:
            found = chain.mined(name)
            if found is not None:
                block, done = found
                mined.append(Mined(name, block, done.good, done.fee_wei, done.wei))
        looked = Looked(
            head.number,
            head.number,
            head.broker.round_initialised,
            head.price_wei,
            max(1, head.price_wei // 10) if chain.climate.tips else None,
            head.balances.get(self.name, 0),
            head.nonces.get(self.name, 0),
            chain.deep(self.redeemer_rules.confirmations).nonces.get(self.name, 0),
            tuple(mined),
        )
        self.post(looked)

    def _weigh(self, effect: Weigh) -> None:
        broker = self.chain.head.broker
        if not self.chain.up:
            self.post(Weighed(effect.id, fault=NO_ANSWER))
            return
        if not isinstance(effect.what, Redeem):
            self.post(Weighed(effect.id, PAY_GAS))
            return
        try:
            broker.check(effect.what.winning)
        except Rejected as rejection:
            mined = effect.nonce is not None and self.chain.head.nonces.get(self.name, 0) > effect.nonce
            self.post(Weighed(effect.id, fault=str(rejection), rejected=not mined))
        else:
            self.post(Weighed(effect.id, REDEEM_GAS, broker.pays(effect.what.winning)))

    def _broadcast(self, effect: Broadcast) -> None:
        fault = self.chain.send(effect.attempt.raw) if self.chain.up else NO_ANSWER
        self.post(Sent(effect.attempt.transaction, fault))

    def _post(self, effect: Post) -> None:
        if self._rng.randrange(1_000_000) < self.manners.hook_fail_ppm:
            self.post(Posted(effect.notice.id, effect.hook, "the webhook is out of order"))
        else:
            self.told.append(effect.notice)
            self.post(Posted(effect.notice.id, effect.hook))
