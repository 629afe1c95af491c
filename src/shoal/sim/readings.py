"""What clients were told, against what the gateways' journals say."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.sim.evidence import (
    UNCHECKED,
    Acknowledged,
    ClientWord,
    Consumed,
    Ended,
    Finding,
    Missing,
)
from shoal.sim.gateway_books import GatewayBooks
from shoal.sim.job_entries import OPEN, JobEntry


def compare_clients(
    client_words: Sequence[ClientWord],
    gateways: Sequence[GatewayBooks],
    drained: bool,
    findings: list[Finding],
) -> None:
    """Every acknowledged job ends, and its client reads that very end; a key means one job."""
    jobs = {job: entry for books in gateways for job, entry in books.jobs.items()}
    whole = all(books.whole for books in gateways)
    acknowledged = {word.job: word for word in client_words if isinstance(word, Acknowledged)}
    rule = "I1" if whole else UNCHECKED
    findings += [
        Finding(rule, job, "acknowledged, and in no journal") for job in acknowledged.keys() - jobs.keys()
    ]
    ends = _read_ends(client_words, findings)
    for job, end in ends.items():
        if job in jobs:
            findings += _end(job, jobs[job], end, acknowledged.get(job))
    if drained:
        for job in acknowledged.keys() - ends.keys():
            findings.append(Finding("I1", job, "acknowledged, and its client never read an end"))
    _compare_consumed(client_words, jobs, findings)


def _read_ends(client_words: Sequence[ClientWord], findings: list[Finding]) -> dict[str, Ended]:
    """How each job ended for its client; on the way, whether clients were told one thing only."""
    keys: dict[tuple[str, str], Acknowledged] = {}
    ends: dict[str, Ended] = {}
    for word in client_words:
        match word:
            case Acknowledged():
                findings += _key(word, keys)
            case Ended():
                if ends.setdefault(word.job, word) != word:
                    findings.append(Finding("I6", word.job, f"read as {ends[word.job]}, then as {word}"))
            case Missing():
                findings.append(Finding("I1", word.job, "acknowledged, and later unknown to its gateway"))
            case _:
                pass
    return ends


def _compare_consumed(
    client_words: Sequence[ClientWord], jobs: dict[str, JobEntry], findings: list[Finding]
) -> None:
    consumed: dict[str, int] = {}
    for word in client_words:
        if isinstance(word, Consumed):
            consumed[word.job] = max(word.units, consumed.get(word.job, 0))
    for job, entry in jobs.items():
        received = consumed.get(job, 0)
        if entry.phase in ("cancelled", "failed") and entry.units > received:
            text = f"{entry.units} units paid without an answer, and its client had received {received}"
            findings.append(Finding("I2", job, text))
        if entry.acknowledged_max > received:
            text = f"{entry.acknowledged_max} units acknowledged, and its client had received {received}"
            findings.append(Finding("I2", job, text))


def _key(word: Acknowledged, keys: dict[tuple[str, str], Acknowledged]) -> Sequence[Finding]:
    if not word.key:
        return []
    first = keys.setdefault((word.client, word.key), word)
    if first.job != word.job:
        return [Finding("I6", word.job, f"key {word.key!r} is job {first.job} as well")]
    if first.request != word.request:
        return [Finding("I6", word.job, f"key {word.key!r} was taken with two requests")]
    return []


def _end(job: str, entry: JobEntry, end: Ended, asked: Acknowledged | None) -> Sequence[Finding]:
    found = []
    if entry.phase in OPEN:
        found.append(Finding("I1", job, f"read as {end.end}, and it is {entry.phase}"))
    elif end.end != entry.phase:
        found.append(Finding("I1", job, f"read as {end.end}, and it ended {entry.phase}"))
    if end.charged_wei != entry.wei + entry.fee:
        found.append(Finding("I2", job, f"read {end.charged_wei} wei, charged {entry.wei + entry.fee}"))
    if end.answer != entry.answer:
        found.append(Finding("I6", job, "the client read another answer than was accepted"))
    if asked is not None and asked.expected and end.end == "done" and end.answer != asked.expected:
        found.append(Finding("I6", job, "the answer is not this request's"))
    return found
