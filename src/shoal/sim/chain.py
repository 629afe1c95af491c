"""A chain in virtual time: blocks, a pool of transactions, gas whose price moves, and branches that are left.

It keeps what every block left behind, so that it can go back. Transactions are
not signed here; everything else about them is as a node has it: nonces in a
row, replacement for a tenth more, and a fee for what failed as well.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from random import Random

from msgspec import Struct

from shoal.ids import NodeId
from shoal.money.funds import ChainSeen, FundsSeen
from shoal.money.ticket import NO_HASH
from shoal.redeemer.intent import Pay, Redeem, What
from shoal.runtime.virtual import Calendar
from shoal.sim.broker import Broker, Rejected
from shoal.wire.codec import Coder
from shoal.wire.words import Part

#: The deepest branch that is ever left.
DEPTH_MAX = 6
#: What our transactions take.
VOID_GAS = 21_000
REDEEM_GAS = 60_000
PAY_GAS = 80_000


class Transaction(Part, frozen=True, array_like=True):
    """An order of one account."""

    account: NodeId
    nonce: int
    gas: int
    max_fee_wei: int
    tip_wei: int | None
    #: None: it does nothing.
    what: What | None

    @property
    def gas_used(self) -> int:
        """What it takes, whether or not it succeeds."""
        match self.what:
            case Redeem():
                return REDEEM_GAS
            case Pay():
                return PAY_GAS
            case _:
                return VOID_GAS

    @property
    def value_wei(self) -> int:
        """What goes with it."""
        return self.what.wei if isinstance(self.what, Pay) else 0


_coder = Coder(Transaction)
#: What a sender has done to its money.
Order = Callable[[Broker], None]


def written(transaction: Transaction) -> tuple[bytes, str]:
    """Its bytes and its name."""
    raw = _coder.encode(transaction)
    return raw, "0x" + blake2b(raw, digest_size=32).hexdigest()


class Mined(Struct, frozen=True):
    """A transaction that a block has taken."""

    name: str
    transaction: Transaction
    good: bool
    fee_wei: int
    #: What a redemption brought.
    wei: int = 0


class Block(Struct, frozen=True):
    """One block, and how everything stood after it."""

    number: int
    hash: bytes
    price_wei: int
    mined: tuple[Mined, ...]
    broker: Broker
    nonces: dict[NodeId, int]
    balances: dict[NodeId, int]
    #: What senders had done in it.
    orders: tuple[Order, ...] = ()


class Climate(Struct, kw_only=True):
    """How a chain behaves. Chances are for each block, or for each transaction."""

    block_ms: int = 2_000
    round_blocks: int = 40
    #: Redemption pays off or does not by this.
    price_wei: int = 1_000
    spike_ppm: int = 0
    spike_times: int = 30
    spike_blocks: int = 15
    #: A round is opened late, by so many blocks at most.
    late_blocks: int = 0
    #: Transactions that the node forgets, and those that miners leave alone for a while.
    drop_ppm: int = 0
    stuck_ppm: int = 0
    stuck_blocks: int = 60
    #: Branches that are left, and how deep they are at most.
    reorg_ppm: int = 0
    reorg_depth: int = DEPTH_MAX
    #: The node is down, and for so long at most.
    outage_ppm: int = 0
    outage_ms: int = 120_000
    #: Whether there is a market of fees.
    tips: bool = True


class Waiting(Struct):
    """A transaction in the pool, and the block before which nobody takes it."""

    name: str
    transaction: Transaction
    not_before: int


class VirtualChain:
    """The chain as its one node shows it."""

    def __init__(
        self,
        calendar: Calendar,
        rng: Random,
        climate: Climate,
        pool: tuple[NodeId, ...],
        *,
        confirmations: int = DEPTH_MAX,
    ) -> None:
        self.calendar = calendar
        self.climate = climate
        self.confirmations = confirmations
        self._rng = rng
        broker = Broker(pool, round_blocks=climate.round_blocks)
        self._open_round_at = 0
        self.blocks = [Block(0, rng.randbytes(32), climate.price_wei, (), broker, {}, {})]
        self._pool: dict[tuple[NodeId, int], Waiting] = {}
        #: What is done in the next block beside the pool's transactions: funds that are put down, say.
        self._orders: list[Order] = []
        #: Where transactions lie on the branch that counts.
        self._where: dict[str, tuple[int, Mined]] = {}
        self._spike_until = 0
        self._down_until = 0
        self._stopped = False
        #: All that was ever put down, by sender.
        self.funded: dict[NodeId, int] = {}
        self.reorgs = 0
        self.on_reorg: Callable[[int], None] = lambda depth: None

    # What a node says

    @property
    def up(self) -> bool:
        """Whether the node answers now."""
        return self.calendar.now >= self._down_until

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def deep(self, depth: int) -> Block:
        """The block so far below the head."""
        return self.blocks[max(0, len(self.blocks) - 1 - depth)]

    def mined(self, name: str) -> tuple[int, Mined] | None:
        """In which block a transaction lies, and what it did."""
        return self._where.get(name)

    def seen(self) -> ChainSeen:
        """What a watcher says of the chain."""
        broker = self.head.broker
        last = max(broker.round_hashes, default=0)
        return ChainSeen(
            self.head.number,
            last,
            broker.round_hashes.get(last, NO_HASH),
            broker.round_initialised,
            self.head.price_wei,
            len(broker.pool),
        )

    def funds_seen(self, sender: NodeId, recipient: NodeId) -> FundsSeen:
        """What a watcher says of a sender's money: the lesser of now and of what cannot be taken back any more."""
        now = self.head.broker.funds(sender, recipient)
        then = self.deep(self.confirmations).broker.funds(sender, recipient)
        rounds = [funds.withdraw_round for funds in (now, then) if funds.withdraw_round]
        return FundsSeen(
            sender,
            min(now.deposit, then.deposit),
            min(now.reserve, then.reserve),
            max(now.claimed_by_me, then.claimed_by_me),
            min(rounds, default=0),
            min(now.claimed_by_all, then.claimed_by_all),
        )

    # What is done to it

    def endow(self, account: NodeId, wei: int) -> None:
        """Give an account something to pay for its gas, before anything else happens."""
        self.head.balances[account] = self.head.balances.get(account, 0) + wei

    def fund(self, sender: NodeId, deposit: int, reserve: int, *, at_once: bool = False) -> None:
        """A sender puts money down, in the next block."""
        self.funded[sender] = self.funded.get(sender, 0) + deposit + reserve
        if at_once:
            self.head.broker.fund(sender, deposit, reserve)
        else:
            self._orders.append(lambda broker: broker.fund(sender, deposit, reserve))

    def unlock(self, sender: NodeId) -> None:
        """A sender asks for its money."""
        self._orders.append(lambda broker: broker.unlock(sender))

    def send(self, raw: bytes) -> str:
        """Give the node a transaction; what it says against it, "" for nothing."""
        transaction = _coder.decode(raw)
        _, name = written(transaction)
        key = (transaction.account, transaction.nonce)
        known = self._pool.get(key)
        if transaction.nonce < self.head.nonces.get(transaction.account, 0):
            return "" if name in self._where else "nonce too low"
        if known is not None and known.name == name:
            return ""
        if known is not None and transaction.max_fee_wei * 10 < known.transaction.max_fee_wei * 11:
            return "replacement transaction underpriced"
        cost_wei = transaction.gas * transaction.max_fee_wei + transaction.value_wei
        if cost_wei > self.head.balances.get(transaction.account, 0):
            return "insufficient funds for gas * price + value"
        stuck = self._chance(self.climate.stuck_ppm)
        not_before = self.head.number + (self._rng.randint(5, self.climate.stuck_blocks) if stuck else 0)
        self._pool[key] = Waiting(name, transaction, not_before)
        return ""

    # Time

    def begin(self) -> None:
        """Blocks come from now on."""
        self._stopped = False
        self.calendar.at(self.calendar.now + self._block_ms(), self._beat)

    def stop(self) -> None:
        """No block comes until it begins again."""
        self._stopped = True

    def clear_up(self) -> None:
        """Nothing goes wrong any more, and gas is as cheap as ever."""
        climate = self.climate
        climate.spike_ppm = climate.late_blocks = climate.drop_ppm = climate.stuck_ppm = 0
        climate.reorg_ppm = climate.outage_ppm = 0
        self._spike_until = self._down_until = 0
        for waiting in self._pool.values():
            waiting.not_before = 0

    def _beat(self) -> None:
        climate, rng = self.climate, self._rng
        if self._stopped:
            return
        if self._chance(climate.spike_ppm):
            self._spike_until = self.head.number + rng.randint(1, climate.spike_blocks)
        if self.up and self._chance(climate.outage_ppm):
            self._down_until = self.calendar.now + rng.randint(1_000, climate.outage_ms)
        if len(self.blocks) > 1 and self._chance(climate.reorg_ppm):
            self.go_back(rng.randint(1, climate.reorg_depth))
        self.grow()
        self.calendar.at(self.calendar.now + self._block_ms(), self._beat)

    def go_back(self, depth: int) -> None:
        """Leave the newest blocks for a branch that is longer by the next one."""
        depth = min(depth, len(self.blocks) - 1)
        left = self.blocks[-depth:]
        del self.blocks[-depth:]
        self.reorgs += 1
        for block in left:
            self._orders += block.orders
            for mined in block.mined:
                del self._where[mined.name]
                if not self._chance(self.climate.drop_ppm):
                    key = (mined.transaction.account, mined.transaction.nonce)
                    self._pool.setdefault(key, Waiting(mined.name, mined.transaction, 0))
        self._open_round_at = self.head.number
        self.on_reorg(depth)
        for _ in left:
            self.grow()

    def grow(self) -> None:
        """One block more."""
        last = self.head
        number = last.number + 1
        broker, nonces, balances = last.broker.copy(), dict(last.nonces), dict(last.balances)
        broker.block = number
        self._open_round(broker, last.hash)
        orders, self._orders = self._orders, []
        for order in orders:
            order(broker)
        price_wei = self._price_wei(last, number)
        mined = []
        for key in sorted(self._pool):
            done = self._take(self._pool[key], number, price_wei, broker, nonces, balances)
            if done is not None:
                mined.append(done)
                self._where[done.name] = (number, done)
        self._pool = {
            key: waiting
            for key, waiting in self._pool.items()
            if key[1] >= nonces.get(key[0], 0) and not self._chance(self.climate.drop_ppm)
        }
        block_hash = self._rng.randbytes(32)
        self.blocks.append(
            Block(number, block_hash, price_wei, tuple(mined), broker, nonces, balances, tuple(orders))
        )

    def _open_round(self, broker: Broker, parent_hash: bytes) -> None:
        """Somebody opens each round, sooner or later."""
        if broker.round_initialised:
            return
        if (broker.block % broker.round_blocks) == 0:
            self._open_round_at = broker.block + self._rng.randint(0, self.climate.late_blocks)
        if broker.block >= self._open_round_at:
            broker.initialise_round(parent_hash)

    def _take(
        self,
        waiting: Waiting,
        number: int,
        price_wei: int,
        broker: Broker,
        nonces: dict[NodeId, int],
        balances: dict[NodeId, int],
    ) -> Mined | None:
        """Do what a transaction says, if it is its turn and it offers enough."""
        order = waiting.transaction
        if number < waiting.not_before or order.nonce != nonces.get(order.account, 0):
            return None
        paid_wei = order.max_fee_wei
        if order.tip_wei is not None:
            paid_wei = min(order.max_fee_wei, price_wei + order.tip_wei)
        balance = balances.get(order.account, 0)
        if order.max_fee_wei < price_wei or order.gas * order.max_fee_wei + order.value_wei > balance:
            return None
        nonces[order.account] = order.nonce + 1
        fee_wei = order.gas_used * paid_wei
        balances[order.account] = balance - fee_wei
        wei = 0
        try:
            match order.what:
                case Redeem(winning):
                    wei = broker.redeem(winning)
                    recipient = winning.signed.ticket.recipient
                    balances[recipient] = balances.get(recipient, 0) + wei
                case Pay(batch, payees):
                    broker.pay_out(order.account, batch, payees)
                    balances[order.account] -= order.value_wei
                case _:
                    pass
        except Rejected:
            return Mined(waiting.name, order, False, fee_wei)
        return Mined(waiting.name, order, True, fee_wei, wei)

    def _price_wei(self, last: Block, number: int) -> int:
        """It wanders about where it began, a tenth at a time, but for spikes."""
        usual = self.climate.price_wei
        if number < self._spike_until:
            return usual * self.climate.spike_times
        wandered = min(last.price_wei, 2 * usual) * self._rng.choice((9, 10, 11)) // 10
        return max(usual // 4, min(2 * usual, wandered))

    def _block_ms(self) -> int:
        return self._rng.randint(self.climate.block_ms // 2, self.climate.block_ms * 3 // 2)

    def _chance(self, ppm: int) -> bool:
        return ppm > 0 and self._rng.randrange(1_000_000) < ppm
