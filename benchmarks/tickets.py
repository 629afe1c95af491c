"""What a ticket costs beside the bare signature library: made by a payer; judged, taken and recorded by a payee.

    python -m benchmarks.tickets [--json] [--tickets N ...] [--rounds N]

The payee does what its house does: it decodes a payment from bytes, judges it, lets the fact happen and journals it,
and counts it once the fact is on disk; many payments share a commit. Bare is `coincurve` over the same hashes, in
the same round. Rates are of processor time, the journal's thread included, so that neighbours count less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from coincurve import PrivateKey, PublicKey

from benchmarks.figures import Bound, estimate
from benchmarks.report import machine, table
from benchmarks.samples import RESULTS
from shoal.money.funds import ChainView, Funds
from shoal.money.payee import Payee, TicketsTaken
from shoal.money.payer import Payer, PayerRules
from shoal.money.terms import GWEI, PayeeRules
from shoal.money.ticket import Payment, SignedNonce
from shoal.runtime.journal import Journal
from shoal.runtime.keys import NodeKey, recover_hash
from shoal.units import Instant
from shoal.wire.codec import Coder

ETHER = 10**18
EV_WEI = 10**12
VIEW = ChainView(1_000, 12, b"\x0c" * 32, round_initialised=True, gas_price_wei=GWEI, pool_size=4)
FUNDS = Funds(deposit=10**6 * ETHER, reserve=10**6 * ETHER)
TICKETS = 6_000
#: Payments that wait for the disk at once.
IN_FLIGHT = 64
AIM = Bound(0.6, at_least=True)

PAYMENTS = Coder(Payment)
FACTS = Coder(TicketsTaken)


@dataclass(frozen=True, slots=True)
class Cost:
    """Payments of so many tickets: medians of the rounds, a second of processor time."""

    tickets: int
    bare_sign: float
    made: float
    bare_recover: float
    taken: float
    made_ratio: float
    taken_ratio: float
    taken_low: float
    taken_high: float
    commits: float


def make(key: NodeKey, payee: Payee, tickets: int) -> tuple[float, list[bytes]]:
    """A payer's tickets a second, and its payments as they travel."""
    payer = Payer(key.id, PayerRules())
    payments = []
    params = payee.params(key.id, EV_WEI, VIEW, FUNDS)
    began = time.process_time()
    for _ in range(TICKETS // tickets):
        if payer.left(params) < tickets:
            params = payee.params(key.id, EV_WEI, VIEW, FUNDS)
        payer.validate(params, VIEW, FUNDS, 1)
        issued, fact = payer.issue(params, tickets), payer.issued(params, tickets, VIEW)
        payer.take(fact)
        signed = tuple(SignedNonce(each.nonce, key.sign_hash(each.signed_hash)) for each in issued)
        payments.append(PAYMENTS.encode(Payment(params, key.id, signed)))
    return TICKETS / (time.process_time() - began), payments


def bare(payments: Sequence[bytes]) -> tuple[float, float]:
    """Signatures and recoveries a second of the library alone, over the tickets' own hashes."""
    hashes = []
    signatures = []
    for each in map(PAYMENTS.decode, payments):
        for signed in each.signed_tickets():
            hashes.append(signed.ticket.signed_hash)
            signatures.append(signed.signature[:64] + bytes([signed.signature[64] - 27]))
    key = PrivateKey()
    began = time.process_time()
    for hash32 in hashes:
        key.sign_recoverable(hash32, hasher=None)
    between = time.process_time()
    for hash32, signature in zip(hashes, signatures, strict=True):
        PublicKey.from_signature_and_message(signature, hash32, hasher=None)
    return len(hashes) / (between - began), len(hashes) / (time.process_time() - between)


async def take(payee: Payee, payments: Sequence[bytes], path: Path) -> tuple[float, float]:
    """A payee's tickets a second, each on disk, and how many payments shared a commit."""
    waiting: deque[int] = deque()
    done = asyncio.Event()
    commits = 0

    def durable(number: int) -> None:
        nonlocal commits
        commits += 1
        while waiting and waiting[0] <= number:
            waiting.popleft()
        done.set()

    journal = Journal(path, on_durable=durable, on_failure=_raise, now=_now)
    credit_wei = 0
    began = time.process_time()
    for data in payments:
        payment = PAYMENTS.decode(data)
        judged = payee.judge(payment.params, payment.sender, payment.tickets, VIEW, FUNDS)
        if judged.taken is None or judged.fault is not None:
            raise RuntimeError(f"a good payment was refused: {judged.fault}")
        payee.take(judged.taken)
        credit_wei += judged.credit_wei
        waiting.append(journal.append(_now(), FACTS.encode(judged.taken)))
        while len(waiting) >= IN_FLIGHT:
            done.clear()
            await done.wait()
    while waiting:
        done.clear()
        await done.wait()
    took_s = time.process_time() - began
    recorded = sum(FACTS.decode(fact).credit_wei for _, fact in journal.replay()[1])
    journal.close()
    if not recorded == credit_wei == TICKETS * EV_WEI:
        raise RuntimeError(f"{recorded} wei are recorded, {credit_wei} were credited")
    return TICKETS / took_s, len(payments) / commits


def _raise(failure: BaseException) -> None:
    raise failure


def _now() -> Instant:
    return Instant(time.monotonic_ns() // 1_000_000)


def measure(tickets: int, rounds: int) -> Cost:
    """So many tickets a payment, in every round beside the bare library."""
    samples = []
    RESULTS.mkdir(exist_ok=True)
    for _ in range(rounds):
        payee = Payee(
            NodeKey.generate().id,
            PayeeRules(),
            secret=secrets.token_bytes(32),
            draw_seed=lambda: secrets.token_bytes(32),
            recover=recover_hash,
        )
        made, payments = make(NodeKey.generate(), payee, tickets)
        bare_sign, bare_recover = bare(payments)
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
            taken, shared = asyncio.run(take(payee, payments, Path(folder) / "journal.sqlite3"))
        samples.append((bare_sign, made, bare_recover, taken, shared))
    ratio = estimate([taken / recover for _, _, recover, taken, _ in samples])
    columns = [median(column) for column in zip(*samples, strict=True)]
    return Cost(
        tickets,
        *columns[:4],
        median(made / sign for sign, made, *_ in samples),
        ratio.value,
        ratio.low,
        ratio.high,
        columns[4],
    )


def line(cost: Cost) -> list[str]:
    return [
        f"{cost.tickets}",
        f"{cost.bare_sign:,.0f}",
        f"{cost.made:,.0f}",
        f"{cost.made_ratio:.2f}",
        f"{cost.bare_recover:,.0f}",
        f"{cost.taken:,.0f}",
        f"{cost.taken_ratio:.2f}",
        f"{cost.taken_low:.2f} to {cost.taken_high:.2f}",
        f"{cost.commits:.0f}",
        "met" if AIM.holds(cost.taken_low) else "not met",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a ticket costs beside the bare signature library.")
    parser.add_argument("--json", action="store_true", help="one line of JSON a size, in place of the table")
    parser.add_argument("--tickets", type=int, nargs="+", default=[1, 10, 100], metavar="N")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    chosen = parser.parse_args()
    costs = [measure(tickets, chosen.rounds) for tickets in chosen.tickets]
    if chosen.json:
        print("\n".join(json.dumps(asdict(cost)) for cost in costs))
        return
    head = (
        "tickets a payment",
        "bare sign/s",
        "made/s",
        "ratio",
        "bare recover/s",
        "taken/s",
        "ratio",
        "95 % interval",
        "payments a commit",
        f"aim {AIM}",
    )
    print(f"{chosen.rounds} rounds of {TICKETS:,} tickets; processor time; {machine()}.\n")
    print(table(head, [line(cost) for cost in costs]))


if __name__ == "__main__":
    main()
