"""A dishonest sender's workshop: every way to spoil a payment, and a world in which the contract is asked as well.

In this world every ticket wins, and whatever is accepted is redeemed at once: so a ticket is good if, and only if,
the contract pays all of it to the payee, and the payee's own promises are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from broker import Broker, OnChain, Refusal
from shoal.ids import NodeId
from shoal.money.funds import ChainView, Funds
from shoal.money.payee import Judged, Payee, WinnerSettled
from shoal.money.refusal import Fault
from shoal.money.terms import GWEI, recipient_rand
from shoal.money.ticket import NO_HASH, SignedNonce, Ticket, TicketParams, uint256
from shoal.money.wei import Price
from shoal.runtime.keys import NodeKey
from tickets import ETHER, OTHER_PAYEE, OTHER_PAYER, PAYEE, PAYER, payee

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FACE_WEI = ETHER // 100


class Forged(Struct, frozen=True):
    """One ticket as it comes in."""

    params: TicketParams
    sender: NodeId
    ticket: SignedNonce
    price: Price = Price(0)

    def sealed(self, key: NodeKey) -> Forged:
        """The same, with a signature that fits it."""
        hash32 = self.params.ticket(self.sender, self.ticket.nonce).signed_hash
        return replace(self, ticket=replace(self.ticket, signature=key.sign_hash(hash32)))


def _flipped(data: bytes, chance: Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _params(forged: Forged, **fields: object) -> Forged:
    return replace(forged, params=replace(forged.params, **fields))


def _signature(forged: Forged, signature: bytes) -> Forged:
    return replace(forged, ticket=replace(forged.ticket, signature=signature))


def _high_s(forged: Forged, chance: Random) -> Forged:
    """The other signature that says the same: valid to a verifier that takes both forms."""
    signature = forged.ticket.signature
    s = ORDER - int.from_bytes(signature[32:64])
    return _signature(forged, signature[:32] + uint256(s) + bytes([55 - signature[64]]))


def _bit_of(name: str) -> Callable[[Forged, Random], Forged]:
    return lambda forged, chance: _params(forged, **{name: _flipped(getattr(forged.params, name), chance)})


#: How to spoil what was signed: each leaves a ticket that the contract refuses, or that pays somebody else.
SPOILED: dict[str, Callable[[Forged, Random], Forged]] = {
    "recipient": lambda forged, chance: _params(forged, recipient=OTHER_PAYEE.id),
    "sender": lambda forged, chance: replace(
        forged, sender=OTHER_PAYER.id if forged.sender == PAYER.id else PAYER.id
    ),
    "nobody sends": lambda forged, chance: replace(forged, sender=NodeId("0x" + 40 * "0")),
    "face value": _bit_of("face_value"),
    "less": lambda forged, chance: _params(forged, face_value=uint256(forged.params.face_wei - 1)),
    "win prob": _bit_of("win_prob"),
    "rand hash": _bit_of("recipient_rand_hash"),
    "seed": _bit_of("seed"),
    "seed begins with 0": lambda forged, chance: _params(forged, seed=b"\0" + forged.params.seed[:-1]),
    "expires later": lambda forged, chance: _params(
        forged, expiration_block=forged.params.expiration_block + chance.randint(1, 99)
    ),
    "round": lambda forged, chance: _params(
        forged, creation_round=forged.params.creation_round + chance.choice((-1, 1))
    ),
    "round hash": _bit_of("creation_round_hash"),
    "no round": lambda forged, chance: _params(forged, creation_round=0, creation_round_hash=NO_HASH),
    "nonce": lambda forged, chance: replace(
        forged, ticket=replace(forged.ticket, nonce=forged.ticket.nonce ^ 1 << chance.randrange(32))
    ),
    "price": lambda forged, chance: replace(forged, price=Price(chance.randint(1, 9), 2)),
    "bit of the signature": lambda forged, chance: _signature(
        forged, _flipped(forged.ticket.signature, chance)
    ),
    "high s": _high_s,
    "old v": lambda forged, chance: _signature(
        forged, forged.ticket.signature[:64] + bytes([forged.ticket.signature[64] - 27])
    ),
    "short": lambda forged, chance: _signature(forged, forged.ticket.signature[: chance.randrange(65)]),
    "long": lambda forged, chance: _signature(forged, forged.ticket.signature + b"\x1b"),
    "zeros": lambda forged, chance: _signature(forged, bytes(64) + b"\x1b"),
    "other key": lambda forged, chance: forged.sealed(OTHER_PAYEE),
}


class World:
    """One payee, two payers, and the contract's model."""

    def __init__(self, seed: int, **rules: int) -> None:
        self.chance = Random(seed)
        self.block = 1_000
        self.gas_price_wei = GWEI
        self.payee = payee(face_wei_max=FACE_WEI, **rules)
        self.broker = Broker(pool_size=4)
        self.keys = {key.id: key for key in (PAYER, OTHER_PAYER)}
        for sender in self.keys:
            self.broker.deposits[sender] = 2 * ETHER
            self.broker.reserves[sender] = 4 * ETHER
        self.new_round()

    def new_round(self) -> None:
        """A round begins, and is opened."""
        self.broker.round += 1
        self.broker.round_hashes[self.broker.round] = self.chance.randbytes(32)

    @property
    def view(self) -> ChainView:
        """The chain as the payee sees it."""
        round_ = self.broker.round
        return ChainView(
            self.block,
            round_,
            self.broker.round_hashes[round_],
            round_initialised=True,
            gas_price_wei=self.gas_price_wei,
            pool_size=self.broker.pool_size,
        )

    def funds(self, sender: NodeId) -> Funds:
        """A sender's money as the payee sees it."""
        return Funds(
            self.broker.deposits.get(sender, 0),
            self.broker.reserves.get(sender, 0),
            self.broker.claimed_by(sender, PAYEE.id),
            self.broker.withdraw_rounds.get(sender, 0),
            self.broker.claimed_by_all(sender),
        )

    def params(self, sender: NodeId) -> TicketParams:
        """Parameters whose tickets always win."""
        return self.payee.params(sender, FACE_WEI, self.view, self.funds(sender))

    def judge(self, *forged: Forged) -> Judged:
        """What the payee says to tickets that come together; the first one's parameters go for all."""
        first = forged[0]
        tickets = [each.ticket for each in forged]
        funds = self.funds(first.sender)
        return self.payee.judge(first.params, first.sender, tickets, self.view, funds, price=first.price)

    def reason(self, forged: Forged) -> str | None:
        """Why the contract would not pay the payee the whole ticket now."""
        ticket, rand = on_chain(self.payee, forged)
        try:
            paid = self.broker.pays(ticket, forged.ticket.signature, rand)
        except Refusal as refusal:
            return str(refusal)
        if ticket.recipient != self.payee.me:
            return Fault.RECIPIENT
        return Fault.FUNDS if paid < ticket.face else None

    def settle(self, judged: Judged) -> int:
        """Let what was accepted happen, and redeem its winners: each must be paid in full. Returns how many."""
        if judged.taken:
            self.payee.take(judged.taken)
        for winner in judged.winners:
            signed = winner.signed
            ticket = OnChain(*fields(signed.ticket))
            assert self.broker.redeem(ticket, signed.signature, winner.recipient_rand) == ticket.face
            self.payee.take(WinnerSettled(signed.ticket.sender, winner.ticket_hash))
        return len(judged.winners)


def on_chain(payee: Payee, forged: Forged) -> tuple[OnChain, bytes]:
    """A ticket and its number, as the payee would bring them to the contract."""
    rand = recipient_rand(payee._secret, forged.params, forged.sender, forged.price)
    return OnChain(*fields(forged.params.ticket(forged.sender, forged.ticket.nonce))), rand


def fields(ticket: Ticket) -> tuple[str, str, int, int, int, bytes, bytes]:
    """A ticket in the numbers of the contract."""
    return (
        ticket.recipient,
        ticket.sender,
        ticket.face_wei,
        int.from_bytes(ticket.win_prob),
        ticket.nonce,
        ticket.recipient_rand_hash,
        ticket.aux_data,
    )
