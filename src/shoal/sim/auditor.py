"""The auditor: it reads journals and client logs after a run, and says what must not be.

It shares nothing with the machines but the names of the facts: it folds them
itself, with plain dicts, and does its own sums. It judges simulated and real
runs alike, and says what it could not check. Rules are named as in the design:
I1 one end, I2 one payment, I3 books balance, I4 tickets, I5 slots, I6 keys,
I8 the chain; "credit" where two sides' books of it differ, "exposure" where too much was trusted.
"""

from __future__ import annotations

from collections.abc import Sequence

from shoal.sim.credit import compare_payouts, compare_stakes, compare_tenders, compare_winners
from shoal.sim.evidence import UNCHECKED, Evidence, Finding
from shoal.sim.gateway_books import GatewayBooks
from shoal.sim.job_entries import Paid
from shoal.sim.orchestrator_books import OrchestratorBooks, TaskEntry
from shoal.sim.readings import compare_clients
from shoal.sim.redeemer_books import RedeemerBooks
from shoal.sim.worker_books import WorkerBooks, compare_wages


def audit(evidence: Evidence) -> list[Finding]:
    """Everything that is wrong with a run, and everything that could not be checked."""
    findings: list[Finding] = []
    gateways: dict[str, GatewayBooks] = {}
    orchestrators: dict[str, OrchestratorBooks] = {}
    redeemers: dict[str, RedeemerBooks] = {}
    workers: dict[str, WorkerBooks] = {}
    for journal in evidence.journals:
        if journal.role == "gateway":
            gateways[journal.node] = GatewayBooks(journal, evidence, findings)
        elif journal.role == "orchestrator":
            orchestrators[journal.node] = OrchestratorBooks(journal, evidence, findings)
        elif journal.role == "redeemer":
            redeemers[journal.node] = RedeemerBooks(journal, evidence, findings)
        elif journal.role == "worker":
            workers[journal.node] = WorkerBooks(journal, evidence, findings)
        else:
            findings.append(Finding(UNCHECKED, journal.node, f"nothing is known of the role {journal.role}"))
    _compare_payments(gateways, orchestrators, evidence.drained, findings)
    _nobody_twice(gateways, orchestrators, findings)
    _nobody_unpaid(gateways, orchestrators, findings)
    compare_wages(workers, orchestrators, findings)
    _compare_credit(gateways, orchestrators, redeemers, evidence, findings)
    if evidence.client_words is None:
        findings.append(Finding(UNCHECKED, "clients", "there is no log of what clients were told"))
    else:
        compare_clients(evidence.client_words, list(gateways.values()), evidence.drained, findings)
    return sorted(set(findings))


def _compare_payments(
    gateways: dict[str, GatewayBooks],
    orchestrators: dict[str, OrchestratorBooks],
    drained: bool,
    findings: list[Finding],
) -> None:
    """What a gateway paid for an attempt is what its orchestrator booked for it, and nothing else is."""
    booked: set[tuple[str, str, int]] = set()
    for name, gateway in gateways.items():
        for (job, epoch), paid in gateway.paid.items():
            where = f"{name} {job}/{epoch}"
            books = orchestrators.get(paid.orchestrator)
            if books is None:
                findings.append(Finding(UNCHECKED, name, f"there is no journal of {paid.orchestrator}"))
                continue
            booked.add((paid.orchestrator, job, epoch))
            findings += _compare_payment(where, paid, books, books.tasks.get((job, epoch)), drained)
    for name, books in orchestrators.items():
        for (job, epoch), task in books.tasks.items():
            if not task.wei or (name, job, epoch) in booked:
                continue
            payer = gateways.get(task.gateway)
            if payer is None:
                findings.append(Finding(UNCHECKED, name, f"there is no journal of {task.gateway}"))
            elif payer.whole or job in payer.jobs:
                text = f"booked {task.wei} wei that {task.gateway} never paid"
                findings.append(Finding("I2", f"{name} {job}/{epoch}", text))


def _compare_payment(
    where: str, paid: Paid, books: OrchestratorBooks, task: TaskEntry | None, drained: bool
) -> Sequence[Finding]:
    if task is None:
        if not books.whole:
            return [Finding(UNCHECKED, where, "the orchestrator's journal does not reach back so far")]
        return [Finding("I2", where, f"{paid.wei} wei paid to {books.node}, which never had this attempt")]
    found = []
    if (task.wei or drained) and task.wei != paid.wei:
        found.append(Finding("I2", where, f"{paid.wei} wei paid, and {books.node} booked {task.wei}"))
    if (task.wei or drained) and task.units != paid.units:
        found.append(Finding("I2", where, f"{paid.units} units paid, and {books.node} booked {task.units}"))
    if paid.worker and paid.worker != task.worker:
        found.append(Finding("I2", where, f"the receipt names {paid.worker}, and {task.worker} had the job"))
    if (task.price_wei, task.price_units) != (paid.price_wei, paid.price_units):
        found.append(Finding("I2", where, "the gateway and the orchestrator have different prices"))
    if task.request != paid.request:
        found.append(Finding("I2", where, "the gateway and the orchestrator have different requests"))
    return found


def _compare_credit(
    gateways: dict[str, GatewayBooks],
    orchestrators: dict[str, OrchestratorBooks],
    redeemers: dict[str, RedeemerBooks],
    evidence: Evidence,
    findings: list[Finding],
) -> None:
    """What was paid ahead, where journals reach back to their beginning."""
    whole = all(books.whole for books in gateways.values())
    whole = whole and all(books.whole for books in orchestrators.values())
    bookings = {name: books.bookings for name, books in orchestrators.items()}
    ahead = {name: books.ahead for name, books in gateways.items()}
    if not any(bookings.values()) and not any(side.tenders for side in ahead.values()):
        return
    if not whole:
        findings.append(Finding(UNCHECKED, "credit", "not all journals reach back to the beginning"))
        return
    prices = {
        (name, f"{task.pipeline}/{task.model}"): (task.price_wei, task.price_units)
        for name, books in orchestrators.items()
        for task in books.tasks.values()
    }
    compare_tenders(ahead, bookings, evidence.drained, findings)
    one_job = {
        (name, node): books.one_job(node, prices)
        for name, books in gateways.items()
        for node in orchestrators
    }
    compare_stakes(ahead, one_job, findings)
    compare_winners(bookings, redeemers, evidence, findings)
    compare_payouts(
        {name: books.batches() for name, books in orchestrators.items()}, redeemers, evidence, findings
    )


def _nobody_twice(
    gateways: dict[str, GatewayBooks], orchestrators: dict[str, OrchestratorBooks], findings: list[Finding]
) -> None:
    """A job is paid in one attempt; beside that, those that broke off are as far as they were acknowledged."""
    spilt = {attempt for books in gateways.values() for attempt in books.spilt}
    earned: dict[str, str] = {}
    for name, books in orchestrators.items():
        for (job, epoch), task in books.tasks.items():
            if task.wei and (job, epoch) not in spilt:
                here = f"{name} under epoch {epoch}"
                if job in earned:
                    findings.append(Finding("I2", job, f"paid twice: {earned[job]}, and {here}"))
                earned[job] = here


def _nobody_unpaid(
    gateways: dict[str, GatewayBooks], orchestrators: dict[str, OrchestratorBooks], findings: list[Finding]
) -> None:
    """Acknowledged units go unpaid only where the orchestrator itself has given the attempt up."""
    for name, gateway in gateways.items():
        for (job, epoch), node in gateway.unpaid.items():
            books = orchestrators.get(node)
            task = books.tasks.get((job, epoch)) if books is not None else None
            if task is not None and task.phase != "released":
                text = f"units were acknowledged, and nothing is paid for them: at {node} it is {task.phase}"
                findings.append(Finding("I2", f"{name} {job}/{epoch}", text))
