"""The money of a world in which work is paid ahead: its chain, who has what on it, and what goes wrong there.

All of it is drawn from a sequence of its own, so that a world without money is
the same as ever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from shoal.gateway.config import Rules as GatewayRules
from shoal.ids import NodeId
from shoal.money.payer import PayerRules
from shoal.money.terms import PayeeRules
from shoal.money.wei import Price, Wei
from shoal.orchestrator.books import account
from shoal.orchestrator.config import Rules as OrchestratorRules
from shoal.redeemer.intent import Pay, Redeem
from shoal.redeemer.rules import Rules as RedeemerRules
from shoal.runtime.host import Rules
from shoal.runtime.virtual import Calendar, Network
from shoal.sim.chain import Climate, VirtualChain
from shoal.sim.evidence import ChainTruth, Finding, Redeemed
from shoal.sim.houses import GatewayNode, OrchestratorNode
from shoal.sim.node import Trace
from shoal.sim.prepaid import Manners, Outlook, PaidOrchestrator, PayingGateway, RedeemerNode, key_of
from shoal.units import MINUTE_MS, SECOND_MS

#: By so much everything is dearer than in a world without money: else no ticket would be worth its gas.
SCALE = 10_000
#: So many of a hundred worlds are paid ahead.
SHARE = 33
ETHER = 10**18
GAS_MONEY = 10**18
#: What an honest network may sound the alarm about.
ALARMS = (
    r" is not paid, so it gets no jobs: ",
    r" has booked \d+ of \d+ wei that we paid: ",
    r"^a winning ticket of \w+ brings nothing: ",
    r"^the chain (does not answer, and everything waits|answers again)",
)


class Stakes(Struct, kw_only=True):
    """What goes wrong with a world's money, and how things stand at its beginning."""

    climate: Climate
    manners: Manners
    #: What each gateway puts down at first, and again when its deposit has come down to half.
    deposit_wei: int
    reserve_wei: int
    payer: PayerRules
    payee: PayeeRules
    redeemer: RedeemerRules


def is_prepaid(seed: int) -> bool:
    """Whether this seed's world is one with money."""
    return Random(f"shoal prepaid {seed}").randrange(100) < SHARE


def draw_stakes(rng: Random, *, calm: bool) -> Stakes:
    """Each kind of trouble is there in a part of the worlds; in a calm one there is none."""

    def some(most: int) -> int:
        return rng.randint(1, most) if not calm and rng.random() < 0.4 else 0

    block_ms = rng.choice((500, 1_000, 2_000))
    params_blocks = rng.choice((30, 60, 90)) * SECOND_MS // block_ms
    climate = Climate(
        block_ms=block_ms,
        round_blocks=rng.choice((30, 60, 120)) * SECOND_MS // block_ms,
        price_wei=rng.choice((10, 1_000, 1_000, 20_000)),
        spike_ppm=some(50_000),
        late_blocks=some(5),
        drop_ppm=some(100_000),
        stuck_ppm=some(500_000),
        reorg_ppm=some(80_000),
        outage_ppm=some(30_000),
        outage_ms=rng.choice((5 * SECOND_MS, 5 * MINUTE_MS)),
        tips=rng.random() < 0.7,
    )
    manners = Manners(
        poll_ms=rng.choice((500, 1_000, 3_000)),
        sign_max_ms=rng.choice((5, 500, 5_000)) if not calm else 5,
        sign_fail_ppm=some(200_000),
        sign_lost_ppm=some(200_000),
        ask_max_ms=rng.choice((20, 200, 3_000)) if not calm else 20,
        hook_fail_ppm=some(500_000),
    )
    nonces_max = rng.choice((600, 600, 30))
    deposit_wei = rng.choice((ETHER, ETHER, 10**13))
    payee = PayeeRules(
        redeem_gas=60_000,
        redeem_cost_multiple=rng.choice((2, 10)),
        ev_multiple=rng.choice((2, 10)),
        gas_price_usual_wei=climate.price_wei,
        params_blocks=params_blocks,
        nonces_max=nonces_max,
        float_wei_max=10**14,
    )
    return Stakes(
        climate=climate,
        manners=manners,
        deposit_wei=deposit_wei,
        reserve_wei=deposit_wei,
        payer=PayerRules(params_blocks_low=params_blocks // 4, nonces_max=nonces_max),
        payee=payee,
        redeemer=RedeemerRules(
            tick_ms=block_ms,
            stuck_ms=rng.choice((15, 60)) * block_ms,
            rebroadcast_ms=10 * block_ms,
            again_ms=5 * block_ms,
            silent_max_ms=5 * SECOND_MS,
            notice_again_max_ms=10 * SECOND_MS,
        ),
    )


class Economy:
    """A world's money."""

    def __init__(
        self,
        seed: int,
        network: Network,
        trace: Trace,
        rules: Rules,
        *,
        calm: bool,
        stakes: Stakes | None = None,
    ) -> None:
        self.rng = Random(f"shoal money {seed}")
        self.stakes = stakes or draw_stakes(self.rng, calm=calm)
        self._network = network
        self._trace = trace
        self._rules = rules
        self.calendar: Calendar = network.calendar
        #: Who may claim of reserves: whichever orchestrators there may be, and nobody else.
        self.pool = tuple(key_of(f"o{n}").id for n in range(3))
        self.chain = VirtualChain(
            self.calendar, Random(f"shoal chain {seed}"), self.stakes.climate, self.pool
        )
        self.chain.on_reorg = lambda depth: trace.say(
            self.calendar.now, NodeId("chain"), f"leaves {depth} blocks"
        )
        self.outlook = Outlook(self.chain, self.stakes.manners)
        self.payers: list[NodeId] = []
        self.chain.begin()

    # Who lives here

    def gateway(self, n: int, rules: GatewayRules, rng: Random) -> PayingGateway:
        """A gateway, and its deposit."""
        draw = self.rng
        key = key_of(f"g{n}")
        self._trace.call(key.id, f"g{n}")
        self.chain.fund(key.id, self.stakes.deposit_wei, self.stakes.reserve_wei, at_once=True)
        self.payers.append(key.id)
        return PayingGateway(
            key,
            self._network,
            rng,
            self._trace,
            self._rules,
            replace(
                rules,
                credit_block_wei=Wei(draw.choice((0, 10**9, 10**11, 10**12))),
                credit_max_wei=Wei(draw.choice((10**10, 10**16))),
                ticket_ev_wei_max=Wei(draw.choice((3 * 10**10, 10**11, 10**12))),
                tickets_per_payment=draw.choice((1, 4)),
                # Terms live a tenth as long as they usually do, so that ten times as many expire on their way.
                losses_max=30,
            ),
            outlook=self.outlook,
            payer_rules=self.stakes.payer,
        )

    def orchestrator(self, n: int, rules: OrchestratorRules, rng: Random) -> PaidOrchestrator:
        """An orchestrator; one in a few trusts everybody, or one of the gateways."""
        draw = self.rng
        key = key_of(f"o{n}")
        self._trace.call(key.id, f"o{n}")
        prices = {name: Price(price.wei * SCALE, price.per_units) for name, price in rules.prices.items()}
        trusted = (key_of("g0").id,) if draw.random() < 0.15 else ()
        return PaidOrchestrator(
            key,
            self._network,
            rng,
            self._trace,
            self._rules,
            replace(
                rules,
                prices=prices,
                trusted=trusted,
                redeemer=key_of(f"r{n}").id,
                payout_min_wei=Wei(draw.choice((10**9, 10**12))),
                payout_dust_wei=Wei(draw.choice((1, 10**6))),
                payout_ms=draw.choice((5, 60)) * SECOND_MS,
                payout_look_ms=SECOND_MS,
                payout_again_ms=20 * SECOND_MS,
                ticket_ev_wei_max=Wei(draw.choice((5 * 10**10, 10**12))),
            ),
            outlook=self.outlook,
            payee_rules=self.stakes.payee if draw.random() < 0.9 else None,
        )

    def redeemer(self, n: int, rng: Random) -> RedeemerNode:
        """The redeemer of an orchestrator."""
        key = key_of(f"r{n}")
        self._trace.call(key.id, f"r{n}")
        self.chain.endow(key.id, GAS_MONEY)
        return RedeemerNode(
            key,
            self._network,
            rng,
            self._trace,
            self._rules,
            self.stakes.redeemer,
            outlook=self.outlook,
        )

    def name(self, short: str) -> NodeId:
        """The id of somebody who has nothing to do with the chain."""
        node = key_of(short).id
        self._trace.call(node, short)
        return node

    # Time

    def top_up(self) -> None:
        """Who has little left puts down some more."""
        broker = self.chain.head.broker
        for payer in self.payers:
            if 2 * broker.deposits.get(payer, 0) < self.stakes.deposit_wei:
                self.chain.fund(payer, self.stakes.deposit_wei, 0)

    def clear_up(self) -> None:
        """Nothing goes wrong any more."""
        self.chain.clear_up()
        manners = self.stakes.manners
        manners.sign_fail_ppm = manners.sign_lost_ppm = manners.hook_fail_ppm = 0

    def open(
        self,
        gateways: Sequence[GatewayNode],
        orchestrators: Sequence[OrchestratorNode],
        redeemers: Sequence[RedeemerNode],
    ) -> list[tuple[str, int, str]]:
        """What has not come to its end."""
        counts: list[tuple[str, int, str]] = []
        for gateway in gateways:
            unheard = sum(gateway.state.purse.unheard(node.name) for node in orchestrators)
            counts.append((gateway.name, unheard, "wei paid that nobody has booked"))
        for orchestrator in orchestrators:
            payee = orchestrator.state.payee
            pending = sum(len(payee.pending(sender)) for sender in payee.senders) if payee else 0
            counts.append((orchestrator.name, pending, "winners pending"))
            under_way = orchestrator.state.payroll.under_way
            counts.append((orchestrator.name, int(under_way is not None), "payouts under way"))
        for redeemer in redeemers:
            machine = redeemer.state
            counts.append((redeemer.name, len(machine.intents), "intents"))
            counts.append((redeemer.name, len(machine.untold), "notices"))
        return counts

    def judge_views(
        self, gateways: Sequence[GatewayNode], orchestrators: Sequence[OrchestratorNode]
    ) -> list[Finding]:
        """Let the chain stand still until everybody has looked, and compare what they believe with what it says."""
        self.chain.stop()
        self.calendar.run(self.calendar.now + self.stakes.manners.poll_ms + SECOND_MS)
        found = []
        view = self.chain.seen().view
        looks = [(node.name, node.state.chain) for node in gateways]
        looks += [(node.name, node.state.chain) for node in orchestrators if node.state.payee]
        for name, believed in looks:
            if believed != view:
                found.append(Finding("I8", name, f"believes {believed}, and the chain says {view}"))
        for gateway in gateways:
            mine = self.chain.funds_seen(gateway.name, gateway.name).funds
            if gateway.state.funds != mine:
                text = f"believes it has {gateway.state.funds}, and the chain says {mine}"
                found.append(Finding("I8", gateway.name, text))
        self.chain.begin()
        return found

    def judge_rests(
        self, gateways: Sequence[GatewayNode], orchestrators: Sequence[OrchestratorNode]
    ) -> list[Finding]:
        """What is left over in the end, and should not be."""
        found = []
        for gateway in gateways:
            for node in orchestrators:
                committed = gateway.state.purse.committed(node.name)
                if committed:
                    text = f"{committed} wei are committed to {node.name} after everything ended"
                    found.append(Finding("credit", gateway.name, text))
                balance = node.state.ledger.balances.get(account(gateway.name), 0)
                if node.state.credit(gateway.name) != balance:
                    text = f"answers to {gateway.name} count as charged after everything ended"
                    found.append(Finding("credit", node.name, text))
        return found

    def truth(self) -> ChainTruth:
        """What the chain says in the end."""
        redeemed: dict[bytes, tuple[Redeemed, ...]] = {}
        batches: dict[bytes, tuple[str, ...]] = {}
        for block in self.chain.blocks:
            for mined in block.mined:
                what = mined.transaction.what
                if mined.good and isinstance(what, Redeem):
                    ticket = what.winning.signed.ticket
                    one = Redeemed(ticket.sender, ticket.recipient, mined.name, block.number, mined.wei)
                    name = ticket.ticket_hash
                    redeemed[name] = (*redeemed.get(name, ()), one)
                elif mined.good and isinstance(what, Pay):
                    batches[what.batch] = (*batches.get(what.batch, ()), mined.name)
        paid: dict[NodeId, int] = {}
        for (_, worker), wei in self.chain.head.broker.paid.items():
            paid[worker] = paid.get(worker, 0) + wei
        return ChainTruth(redeemed, self.chain.funded, batches, paid)

    def may_alarm(self, text: str) -> bool:
        """Whether a world in which everybody is honest may say this."""
        return any(re.search(pattern, text) for pattern in ALARMS)
