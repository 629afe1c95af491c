"""What an operator reads of its redemptions and payouts: every intent, and totals by pipeline. Amounts are texts."""

from __future__ import annotations

from shoal.ids import NodeId
from shoal.redeemer.books import Total
from shoal.redeemer.intent import Intent, Pay, Phase, Redeem
from shoal.redeemer.machine import RedeemerMachine

#: Ended intents that are shown; the totals know of all.
SHOWN_MAX = 200


def statement(machine: RedeemerMachine, account: NodeId) -> dict[str, object]:
    """All of it, the open intents first, the most urgent of them first of all."""
    opened = sorted(machine.intents.values(), key=lambda intent: intent.urgency)
    ended = list(machine.ended.values())[::-1]
    view = machine.view
    return {
        "account": account,
        "balance_wei": None if view is None else str(view.balance_wei),
        "head": None if view is None else view.head,
        "silence": machine.silence or None,
        "open": [_intent(machine, intent) for intent in opened],
        "ended": [_intent(machine, intent) for intent in ended[:SHOWN_MAX]],
        "totals": {name: _total(total) for name, total in sorted(machine.totals.items())},
        "untold": [
            {"id": untold.notice.id, "hooks": list(untold.hooks)} for untold in machine.untold.values()
        ],
        "given_up_notices": machine.given_up,
    }


def _intent(machine: RedeemerMachine, intent: Intent) -> dict[str, object]:
    sent = intent.phase is Phase.SENT
    mined = machine.mined(intent)
    shown: dict[str, object] = {
        "id": intent.id,
        "state": "mined" if sent and mined is not None else intent.phase.value,
        "why": machine.why(intent) or None,
        "transaction": intent.transaction or (intent.last.transaction if sent else None),
        "nonce": intent.last.nonce if sent else None,
        "replaced": intent.replacements if sent else 0,
        "wei": _text(intent.wei),
        "fee_wei": _text(intent.fee_wei),
        "taken_at_ms": intent.taken_at,
        "ended_at_ms": intent.ended_at or None,
    }
    match intent.what:
        case Redeem(winning, pipeline):
            ticket = winning.signed.ticket
            shown |= {
                "kind": "ticket",
                "pipeline": pipeline,
                "sender": ticket.sender,
                "recipient": ticket.recipient,
                "face_wei": str(ticket.face_wei),
                "redeemable_from_block": winning.expiration_block,
                "creation_round": intent.what.creation_round,
            }
        case Pay(_, payees):
            shown |= {
                "kind": "payout",
                "payees": {payee.node: _text(payee.wei) for payee in payees},
                "pays_wei": str(intent.what.wei),
            }
        case _:
            shown["kind"] = "nonce"
    return shown


def _total(total: Total) -> dict[str, object]:
    return {
        "taken": total.taken,
        "confirmed": total.confirmed,
        "refused": total.refused,
        "wei": _text(total.wei),
        "fee_wei": _text(total.fee_wei),
    }


def _text(amount: bytes) -> str:
    return str(int.from_bytes(amount))
