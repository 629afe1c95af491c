"""The contracts that a node speaks to, by Livepeer's names: what can be called, and what they log.

Written out here rather than read from an ABI file, so that a node can be pointed
at any deployment by its addresses alone; a test compares this with our artifacts.
"""

from __future__ import annotations

from shoal.chain.abi import EventKind, Method, event, method

#: A ticket as the broker takes it.
TICKET = "(address,address,uint256,uint256,uint256,bytes32,bytes)"


class TicketBroker:
    """Deposits, reserves, and the redemption of winning tickets."""

    redeem = method(f"redeemWinningTicket({TICKET},bytes,uint256)")
    redeem_batch = method(f"batchRedeemWinningTickets({TICKET}[],bytes[],uint256[])")
    ticket_hash = method(f"getTicketHash({TICKET})", "bytes32")
    used_tickets = method("usedTickets(bytes32)", "bool")
    fund_deposit = method("fundDeposit()")
    fund_reserve = method("fundReserve()")
    fund_deposit_and_reserve = method("fundDepositAndReserve(uint256,uint256)")
    unlock = method("unlock()")
    cancel_unlock = method("cancelUnlock()")
    withdraw = method("withdraw()")
    unlock_in_progress = method("isUnlockInProgress(address)", "bool")
    unlock_period = method("unlockPeriod()", "uint256")
    ticket_validity_period = method("ticketValidityPeriod()", "uint256")
    sender_info = method("getSenderInfo(address)", "(uint256,uint256),(uint256,uint256)")
    reserve_info = method("getReserveInfo(address)", "(uint256,uint256)")
    claimable_reserve = method("claimableReserve(address,address)", "uint256")
    claimed_reserve = method("claimedReserve(address,address)", "uint256")

    DEPOSIT_FUNDED = event("DepositFunded(address indexed sender, uint256 amount)")
    RESERVE_FUNDED = event("ReserveFunded(address indexed reserveHolder, uint256 amount)")
    RESERVE_CLAIMED = event("ReserveClaimed(address indexed reserveHolder, address claimant, uint256 amount)")
    UNLOCK = event("Unlock(address indexed sender, uint256 startRound, uint256 endRound)")
    UNLOCK_CANCELLED = event("UnlockCancelled(address indexed sender)")
    WITHDRAWAL = event("Withdrawal(address indexed sender, uint256 deposit, uint256 reserve)")
    TRANSFER = event(
        "WinningTicketTransfer(address indexed sender, address indexed recipient, uint256 amount)"
    )
    REDEEMED = event(
        "WinningTicketRedeemed(address indexed sender, address indexed recipient, uint256 faceValue,"
        " uint256 winProb, uint256 senderNonce, uint256 recipientRand, bytes auxData)"
    )


class Rounds:
    """Rounds, and the blocks by which tickets are dated."""

    current_round = method("currentRound()", "uint256")
    initialised = method("currentRoundInitialized()", "bool")
    last_initialised_round = method("lastInitializedRound()", "uint256")
    initialise_round = method("initializeRound()")
    block_hash_for_round = method("blockHashForRound(uint256)", "bytes32")
    block_number = method("blockNum()", "uint256")
    round_length = method("roundLength()", "uint256")


class Bonding:
    """Who is in the active pool, and with how much stake."""

    bond = method("bond(uint256,address)")
    unbond = method("unbond(uint256)")
    transcoder = method("transcoder(uint256,uint256)")
    is_active = method("isActiveTranscoder(address)", "bool")
    pool_size = method("getTranscoderPoolSize()", "uint256")
    total_stake = method("transcoderTotalStake(address)", "uint256")
    first_in_pool = method("getFirstTranscoderInPool()", "address")
    next_in_pool = method("getNextTranscoderInPool(address)", "address")


class ServiceRegistry:
    """Where an orchestrator is found."""

    set_uri = method("setServiceURI(string)")
    uri = method("getServiceURI(address)", "string")

    URI_UPDATED = event("ServiceURIUpdate(address indexed addr, string serviceURI)")


class Payouts:
    """An operator pays its workers, many at once."""

    pay_out = method("payOut(bytes32,address[],uint256[])")
    paid_to = method("paidTo(address,address)", "uint256")
    is_paid = method("isPaid(address,bytes32)", "bool")
    waiting = method("waiting(address,address)", "uint256")

    PAID_OUT = event(
        "PaidOut(address indexed operator, address indexed worker, bytes32 indexed batch, uint256 amount)"
    )


class Token:
    """An ERC-20 token."""

    balance_of = method("balanceOf(address)", "uint256")
    transfer = method("transfer(address,uint256)", "bool")
    approve = method("approve(address,uint256)", "bool")


#: The logs after which a sender's funds are looked at again.
FUNDS_EVENTS: dict[str, EventKind] = {
    kind.topic: kind
    for kind in (
        TicketBroker.DEPOSIT_FUNDED,
        TicketBroker.RESERVE_FUNDED,
        TicketBroker.RESERVE_CLAIMED,
        TicketBroker.UNLOCK,
        TicketBroker.UNLOCK_CANCELLED,
        TicketBroker.WITHDRAWAL,
        TicketBroker.TRANSFER,
    )
}

BROKER_EVENTS: dict[str, EventKind] = FUNDS_EVENTS | {TicketBroker.REDEEMED.topic: TicketBroker.REDEEMED}


def methods(contract: type) -> dict[str, Method]:
    """A contract's methods by the names they have here."""
    return {name: value for name, value in vars(contract).items() if isinstance(value, Method)}
