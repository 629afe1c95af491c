# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Ticket broker
@notice Holds what senders put down, and pays it out to the recipients of winning tickets.

        A sender has a deposit, which pays any ticket of theirs, and a reserve, of which each active node of a round
        can claim an equal share once the deposit is spent. Whatever is held belongs to one sender: they get back what
        no ticket took, `unlockPeriod` rounds after they asked for it.
@dev    Names, types, events, the order of checks and the reasons of reverts are those of Livepeer's TicketBroker, so
        that a client of one is a client of the other. docs/why/026-contracts.md says what differs.
"""


interface Controller:
    def owner() -> address: view


interface Rounds:
    def currentRound() -> uint256: view
    def currentRoundInitialized() -> bool: view
    def blockHashForRound(round: uint256) -> bytes32: view


interface Bonding:
    def isActiveTranscoder(transcoder: address) -> bool: view
    def getTranscoderPoolSize() -> uint256: view


struct Ticket:
    recipient: address
    sender: address
    faceValue: uint256
    winProb: uint256
    senderNonce: uint256
    recipientRandHash: bytes32
    auxData: Bytes[AUX_BYTES_MAX]


struct Sender:
    deposit: uint256
    withdrawRound: uint256  # 0 while locked, else the first round in which the sender may withdraw


struct ReserveInfo:
    fundsRemaining: uint256
    claimedInCurrentRound: uint256


event DepositFunded:
    sender: indexed(address)
    amount: uint256


event ReserveFunded:
    reserveHolder: indexed(address)
    amount: uint256


event ReserveClaimed:
    reserveHolder: indexed(address)
    claimant: address
    amount: uint256


event Unlock:
    sender: indexed(address)
    startRound: uint256
    endRound: uint256


event UnlockCancelled:
    sender: indexed(address)


event Withdrawal:
    sender: indexed(address)
    deposit: uint256
    reserve: uint256


event WinningTicketTransfer:
    sender: indexed(address)
    recipient: indexed(address)
    amount: uint256


event WinningTicketRedeemed:
    sender: indexed(address)
    recipient: indexed(address)
    faceValue: uint256
    winProb: uint256
    senderNonce: uint256
    recipientRand: uint256
    auxData: Bytes[AUX_BYTES_MAX]


event ParameterUpdate:
    param: String[32]


#: Bytes beyond what is valid are read as well, so that a wrong length gets its reason.
AUX_BYTES: constant(uint256) = 64
AUX_BYTES_MAX: constant(uint256) = 128
SIG_BYTES: constant(uint256) = 65
SIG_BYTES_MAX: constant(uint256) = 128
BATCH_MAX: constant(uint256) = 64

#: The longest that anybody can make a sender wait for their own funds, in rounds.
UNLOCK_PERIOD_MAX: constant(uint256) = 100

#: Half the order of secp256k1: of the two signatures that say the same, the one with the lower s is valid.
LOW_S_MAX: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

controller: public(immutable(address))
rounds: public(immutable(address))
bonding: public(immutable(address))

unlockPeriod: public(uint256)
ticketValidityPeriod: public(uint256)
usedTickets: public(HashMap[bytes32, bool])

senders: HashMap[address, Sender]
reserves: HashMap[address, uint256]
claimedInRound: HashMap[address, HashMap[uint256, uint256]]  # holder, round
claimedBy: HashMap[address, HashMap[uint256, HashMap[address, uint256]]]  # holder, round, claimant


@deploy
def __init__(_controller: address, _rounds: address, _bonding: address, unlock_period: uint256, validity_period: uint256):
    controller = _controller
    rounds = _rounds
    bonding = _bonding
    self._set_unlock_period(unlock_period)
    self._set_ticket_validity_period(validity_period)


# Funding. A sender who funds their own account while it unlocks wants to go on: that cancels the unlocking.


@external
@payable
@nonreentrant
def fundDeposit():
    self._add_deposit(msg.sender, msg.value)
    log DepositFunded(sender=msg.sender, amount=msg.value)


@external
@payable
@nonreentrant
def fundReserve():
    self._add_reserve(msg.sender, msg.value)


@external
@payable
@nonreentrant
def fundDepositAndReserve(deposit_amount: uint256, reserve_amount: uint256):
    self._fund(msg.sender, deposit_amount, reserve_amount)


@external
@payable
@nonreentrant
def fundDepositAndReserveFor(addr: address, deposit_amount: uint256, reserve_amount: uint256):
    assert addr != empty(address), "sender is null address"
    self._fund(addr, deposit_amount, reserve_amount)


# Redemption.


@external
@nonreentrant
def redeemWinningTicket(ticket: Ticket, sig: Bytes[SIG_BYTES_MAX], recipient_rand: uint256):
    """
    @notice Pays a winning ticket, once: from the sender's deposit, and what that lacks from their reserve.
    @dev    A ticket that finds less than its face value takes what there is, and is used all the same.
    """
    assert staticcall Rounds(rounds).currentRoundInitialized(), "current round is not initialized"
    ticket_hash: bytes32 = self._ticket_hash(ticket)
    self._check_ticket(ticket, ticket_hash, sig, recipient_rand)
    deposit: uint256 = self.senders[ticket.sender].deposit
    assert self._is_locked(ticket.sender), "sender is unlocked"
    assert deposit > 0 or self.reserves[ticket.sender] > 0, "sender deposit and reserve are zero"

    self.usedTickets[ticket_hash] = True
    amount: uint256 = min(ticket.faceValue, deposit)
    self.senders[ticket.sender].deposit = deposit - amount
    if ticket.faceValue > deposit:
        amount += self._claim(ticket.sender, ticket.recipient, ticket.faceValue - deposit)
    if amount > 0:
        log WinningTicketTransfer(sender=ticket.sender, recipient=ticket.recipient, amount=amount)
    log WinningTicketRedeemed(
        sender=ticket.sender,
        recipient=ticket.recipient,
        faceValue=ticket.faceValue,
        winProb=ticket.winProb,
        senderNonce=ticket.senderNonce,
        recipientRand=recipient_rand,
        auxData=ticket.auxData,
    )
    self._pay(ticket.recipient, amount)


@external
def batchRedeemWinningTickets(
    tickets: DynArray[Ticket, BATCH_MAX],
    sigs: DynArray[Bytes[SIG_BYTES_MAX], BATCH_MAX],
    recipient_rands: DynArray[uint256, BATCH_MAX],
):
    """
    @notice Redeems many tickets. One that cannot be redeemed is passed over.
    @dev    It holds no lock of its own, for each redemption takes it in turn; it changes nothing but through them.
    """
    assert staticcall Rounds(rounds).currentRoundInitialized(), "current round is not initialized"
    for i: uint256 in range(len(tickets), bound=BATCH_MAX):
        redemption: Bytes[1024] = abi_encode(
            tickets[i],
            sigs[i],
            recipient_rands[i],
            method_id=method_id("redeemWinningTicket((address,address,uint256,uint256,uint256,bytes32,bytes),bytes,uint256)"),
        )
        redeemed: bool = raw_call(self, redemption, revert_on_failure=False)


# The way out.


@external
@nonreentrant
def unlock():
    """
    @notice Asks for what the sender has here. Until it may be withdrawn, tickets are still paid from it.
    """
    assert self._has_funds(msg.sender), "sender deposit and reserve are zero"
    assert self.senders[msg.sender].withdrawRound == 0, "unlock already initiated"
    current_round: uint256 = staticcall Rounds(rounds).currentRound()
    self.senders[msg.sender].withdrawRound = current_round + self.unlockPeriod
    log Unlock(sender=msg.sender, startRound=current_round, endRound=current_round + self.unlockPeriod)


@external
@nonreentrant
def cancelUnlock():
    self._cancel_unlock(msg.sender)


@external
@nonreentrant
def withdraw():
    deposit: uint256 = self.senders[msg.sender].deposit
    reserve: uint256 = self.reserves[msg.sender]
    assert self._has_funds(msg.sender), "sender deposit and reserve are zero"
    assert self.senders[msg.sender].withdrawRound > 0, "no unlock request in progress"
    assert not self._is_locked(msg.sender), "account is locked"

    # Nothing was claimed in this round: an account that unlocks pays no tickets from its withdraw round on. So a reserve
    # that is funded anew within the round begins with shares that nobody has touched.
    self.senders[msg.sender].deposit = 0
    self.reserves[msg.sender] = 0
    log Withdrawal(sender=msg.sender, deposit=deposit, reserve=reserve)
    self._pay(msg.sender, deposit + reserve)


# Parameters. An unlocking that is under way keeps the round that it was promised.


@external
def setUnlockPeriod(unlock_period: uint256):
    self._only_owner()
    self._set_unlock_period(unlock_period)


@external
def setTicketValidityPeriod(ticket_validity_period: uint256):
    self._only_owner()
    self._set_ticket_validity_period(ticket_validity_period)


# What there is to see.


@external
@view
def isUnlockInProgress(sender: address) -> bool:
    return self.senders[sender].withdrawRound > 0


@external
@view
def getSenderInfo(sender: address) -> (Sender, ReserveInfo):
    return self.senders[sender], self._reserve_info(sender)


@external
@view
def getReserveInfo(reserve_holder: address) -> ReserveInfo:
    return self._reserve_info(reserve_holder)


@external
@view
def claimableReserve(reserve_holder: address, claimant: address) -> uint256:
    return self._claimable(reserve_holder, claimant, staticcall Rounds(rounds).currentRound())


@external
@view
def claimedReserve(reserve_holder: address, claimant: address) -> uint256:
    return self.claimedBy[reserve_holder][staticcall Rounds(rounds).currentRound()][claimant]


@external
@pure
def getTicketHash(ticket: Ticket) -> bytes32:
    return self._ticket_hash(ticket)


# Inside.


@internal
@payable
def _fund(sender: address, deposit_amount: uint256, reserve_amount: uint256):
    # Compared so that no sum can overflow: amounts that do not add up have one reason, however large they are.
    assert (
        deposit_amount <= msg.value and msg.value - deposit_amount == reserve_amount
    ), "msg.value does not equal sum of deposit amount and reserve amount"
    self._add_deposit(sender, deposit_amount)
    self._add_reserve(sender, reserve_amount)
    log DepositFunded(sender=sender, amount=deposit_amount)


@internal
def _add_deposit(sender: address, amount: uint256):
    self.senders[sender].deposit += amount
    self._stay(sender)


@internal
def _add_reserve(sender: address, amount: uint256):
    self.reserves[sender] += amount
    log ReserveFunded(reserveHolder=sender, amount=amount)
    self._stay(sender)


@internal
def _stay(sender: address):
    if msg.sender == sender and self.senders[sender].withdrawRound > 0:
        self._cancel_unlock(sender)


@internal
def _cancel_unlock(sender: address):
    assert self.senders[sender].withdrawRound > 0, "no unlock request in progress"
    self.senders[sender].withdrawRound = 0
    log UnlockCancelled(sender=sender)


@internal
def _claim(holder: address, claimant: address, wanted: uint256) -> uint256:
    current_round: uint256 = staticcall Rounds(rounds).currentRound()
    amount: uint256 = min(wanted, self._claimable(holder, claimant, current_round))
    if amount == 0:
        return 0
    self.claimedInRound[holder][current_round] += amount
    self.claimedBy[holder][current_round][claimant] += amount
    self.reserves[holder] -= amount
    log ReserveClaimed(reserveHolder=holder, claimant=claimant, amount=amount)
    return amount


@internal
def _pay(payee: address, amount: uint256):
    """
    @dev The last thing that a call does: the books are closed, and the lock is held. A payee that will not be paid
         undoes the whole call, so that what it refuses stays where it was.
    """
    if amount > 0:
        assert raw_call(payee, b"", value=amount, revert_on_failure=False), "payee refused the payment"


@internal
def _set_unlock_period(unlock_period: uint256):
    assert 0 < unlock_period and unlock_period <= UNLOCK_PERIOD_MAX, "unlockPeriod out of range"
    self.unlockPeriod = unlock_period
    log ParameterUpdate(param="unlockPeriod")


@internal
def _set_ticket_validity_period(ticket_validity_period: uint256):
    assert ticket_validity_period > 0, "ticketValidityPeriod must be greater than 0"
    self.ticketValidityPeriod = ticket_validity_period
    log ParameterUpdate(param="ticketValidityPeriod")


@internal
@view
def _only_owner():
    assert msg.sender == staticcall Controller(controller).owner(), "caller must be Controller owner"


@internal
@view
def _check_ticket(ticket: Ticket, ticket_hash: bytes32, sig: Bytes[SIG_BYTES_MAX], recipient_rand: uint256):
    assert ticket.recipient != empty(address), "ticket recipient is null address"
    assert ticket.sender != empty(address), "ticket sender is null address"
    self._check_age(ticket.auxData)
    assert (
        keccak256(convert(recipient_rand, bytes32)) == ticket.recipientRandHash
    ), "recipientRand does not match recipientRandHash"
    assert not self.usedTickets[ticket_hash], "ticket is used"
    assert self._signer(ticket_hash, sig) == ticket.sender, "invalid signature over ticket hash"
    drawn: bytes32 = keccak256(concat(sig, convert(recipient_rand, bytes32)))
    assert convert(drawn, uint256) < ticket.winProb, "ticket did not win"


@internal
@view
def _check_age(aux_data: Bytes[AUX_BYTES_MAX]):
    assert len(aux_data) == AUX_BYTES, "invalid length for ticket auxData: must be 64 bytes"
    creation_round: uint256 = extract32(aux_data, 0, output_type=uint256)
    block_hash: bytes32 = staticcall Rounds(rounds).blockHashForRound(creation_round)
    assert block_hash != empty(bytes32), "ticket creationRound does not have a block hash"
    assert extract32(aux_data, 32) == block_hash, "ticket creationRoundBlockHash invalid for creationRound"
    current_round: uint256 = staticcall Rounds(rounds).currentRound()
    # A round that has a hash has begun, so that this cannot fall below zero; and no period is too long to be added.
    assert current_round - creation_round < self.ticketValidityPeriod, "ticket is expired"


@internal
@view
def _has_funds(sender: address) -> bool:
    return self.senders[sender].deposit > 0 or self.reserves[sender] > 0


@internal
@view
def _is_locked(sender: address) -> bool:
    withdraw_round: uint256 = self.senders[sender].withdrawRound
    return withdraw_round == 0 or staticcall Rounds(rounds).currentRound() < withdraw_round


@internal
@view
def _reserve_info(holder: address) -> ReserveInfo:
    current_round: uint256 = staticcall Rounds(rounds).currentRound()
    return ReserveInfo(
        fundsRemaining=self.reserves[holder],
        claimedInCurrentRound=self.claimedInRound[holder][current_round],
    )


@internal
@view
def _claimable(holder: address, claimant: address, current_round: uint256) -> uint256:
    if not staticcall Bonding(bonding).isActiveTranscoder(claimant):
        return 0
    pool_size: uint256 = staticcall Bonding(bonding).getTranscoderPoolSize()
    if pool_size == 0:
        return 0
    funds: uint256 = self.reserves[holder] + self.claimedInRound[holder][current_round]
    return funds // pool_size - self.claimedBy[holder][current_round][claimant]


@internal
@pure
def _ticket_hash(ticket: Ticket) -> bytes32:
    return keccak256(
        concat(
            convert(ticket.recipient, bytes20),
            convert(ticket.sender, bytes20),
            convert(ticket.faceValue, bytes32),
            convert(ticket.winProb, bytes32),
            convert(ticket.senderNonce, bytes32),
            ticket.recipientRandHash,
            ticket.auxData,
        )
    )


@internal
@pure
def _signer(ticket_hash: bytes32, sig: Bytes[SIG_BYTES_MAX]) -> address:
    assert len(sig) == SIG_BYTES, "INVALID_SIGNATURE_LENGTH"
    s: uint256 = extract32(sig, 32, output_type=uint256)
    v: uint256 = convert(slice(sig, 64, 1), uint256)
    assert s <= LOW_S_MAX, "ECDSA: invalid signature 's' value"
    assert v == 27 or v == 28, "ECDSA: invalid signature 'v' value"
    signed: bytes32 = keccak256(concat(b"\x19Ethereum Signed Message:\n32", ticket_hash))
    signer: address = ecrecover(signed, v, extract32(sig, 0, output_type=uint256), s)
    assert signer != empty(address), "ECDSA: invalid signature"
    return signer
