# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Bonding
@notice Nodes stake tokens. The largest stakes, a hundred at most, form the pool: in the next round its members are
        active, and until then nothing about who is active changes. Stake that is taken out waits `unbondingPeriod`
        rounds behind a lock, and is then its owner's. Nobody owns the contract; nobody can slash or freeze.
@dev    The names are those of Livepeer's BondingManager that a node uses. Everybody stakes on themselves.
        docs/why/026-contracts.md says what differs.
"""

from ethereum.ercs import IERC20


interface Rounds:
    def currentRound() -> uint256: view
    def currentRoundInitialized() -> bool: view


struct Staker:
    bonded: uint256
    startRound: uint256
    nextLockId: uint256
    activationRound: uint256
    deactivationRound: uint256  # FOR_EVER while in the pool, 0 for who never was
    rewardCut: uint256
    feeShare: uint256
    lastRewardRound: uint256


struct Lock:
    amount: uint256
    withdrawRound: uint256


event Bond:
    newDelegate: indexed(address)
    oldDelegate: indexed(address)
    delegator: indexed(address)
    additionalAmount: uint256
    bondedAmount: uint256


event Unbond:
    delegate: indexed(address)
    delegator: indexed(address)
    unbondingLockId: uint256
    amount: uint256
    withdrawRound: uint256


event Rebond:
    delegate: indexed(address)
    delegator: indexed(address)
    unbondingLockId: uint256
    amount: uint256


event WithdrawStake:
    delegator: indexed(address)
    unbondingLockId: uint256
    amount: uint256
    withdrawRound: uint256


event TranscoderUpdate:
    transcoder: indexed(address)
    rewardCut: uint256
    feeShare: uint256


event TranscoderActivated:
    transcoder: indexed(address)
    activationRound: uint256


event TranscoderDeactivated:
    transcoder: indexed(address)
    deactivationRound: uint256


event Reward:
    transcoder: indexed(address)
    amount: uint256


#: The numbers that Livepeer's DelegatorStatus and TranscoderStatus stand for.
PENDING: constant(uint8) = 0
BONDED: constant(uint8) = 1
UNBONDED: constant(uint8) = 2

POOL_MAX: constant(uint256) = 100
UNBONDING_PERIOD_MAX: constant(uint64) = 100
WHOLE: constant(uint256) = 1_000_000  # 100 % of a cut or a share
FOR_EVER: constant(uint256) = max_value(uint256)

token: public(immutable(IERC20))
rounds: public(immutable(Rounds))
unbondingPeriod: public(immutable(uint64))
poolMax: immutable(uint256)

stakers: HashMap[address, Staker]
locks: HashMap[address, HashMap[uint256, Lock]]

# The pool as it stands for the next round: a list from the largest stake down. The null address is its head and its
# tail, so that the first follows null, and null follows the last.
following: HashMap[address, address]
preceding: HashMap[address, address]
poolSize: uint256
poolStake: uint256

# The pool as it was when the current round began, if it changed since then; written at the first change in a round.
changedRound: uint256
sizeAtStart: uint256
stakeAtStart: uint256


@deploy
def __init__(_token: address, _rounds: address, unbonding_period: uint64, pool_max: uint256):
    assert 0 < unbonding_period and unbonding_period <= UNBONDING_PERIOD_MAX, "unbonding period out of range"
    assert 0 < pool_max and pool_max <= POOL_MAX, "pool size out of range"
    token = IERC20(_token)
    rounds = Rounds(_rounds)
    unbondingPeriod = unbonding_period
    poolMax = pool_max


# Into the pool.


@external
@nonreentrant
def bond(amount: uint256, to: address):
    """
    @notice Stakes tokens that the caller has approved. With an amount of 0, tries to enter the pool with what is staked.
    """
    self._only_in_open_round()
    assert to == msg.sender, "stake can only be bonded to oneself"
    bonded: uint256 = self.stakers[msg.sender].bonded + amount
    assert bonded > 0, "delegation amount must be greater than 0"
    before: address = empty(address)
    if self.stakers[msg.sender].bonded > 0:
        before = msg.sender
    self._raise_stake(msg.sender, amount)
    log Bond(
        newDelegate=msg.sender, oldDelegate=before, delegator=msg.sender, additionalAmount=amount, bondedAmount=bonded
    )
    assert extcall token.transferFrom(msg.sender, self, amount), "token transfer failed"


@external
@nonreentrant
def transcoder(reward_cut: uint256, fee_share: uint256):
    """
    @notice Says which part of rewards a node keeps and which part of fees it shares, for those who will share them;
            and tries to enter the pool.
    """
    self._only_in_open_round()
    assert reward_cut <= WHOLE, "invalid rewardCut percentage"
    assert fee_share <= WHOLE, "invalid feeShare percentage"
    assert self.stakers[msg.sender].bonded > 0, "transcoder must be registered"
    self.stakers[msg.sender].rewardCut = reward_cut
    self.stakers[msg.sender].feeShare = fee_share
    self._raise_stake(msg.sender, 0)
    log TranscoderUpdate(transcoder=msg.sender, rewardCut=reward_cut, feeShare=fee_share)


@external
@nonreentrant
def reward():
    """
    @notice Says once a round that an active node is there. There is nothing to hand out yet.
    """
    self._only_in_open_round()
    current_round: uint256 = self._current_round()
    assert self._is_active(msg.sender, current_round), "caller must be an active transcoder"
    assert (
        self.stakers[msg.sender].lastRewardRound != current_round
    ), "caller has already called reward for the current round"
    self.stakers[msg.sender].lastRewardRound = current_round
    log Reward(transcoder=msg.sender, amount=0)


# The way out. It asks only that blocks go by: not that anybody opens a round.


@external
@nonreentrant
def unbond(amount: uint256):
    """
    @notice Takes stake out of play and puts it behind a lock that opens `unbondingPeriod` rounds from now.
    """
    bonded: uint256 = self.stakers[msg.sender].bonded
    assert bonded > 0, "caller must be bonded"
    assert amount > 0, "unbond amount must be greater than 0"
    assert amount <= bonded, "amount is greater than bonded amount"
    lock_id: uint256 = self.stakers[msg.sender].nextLockId
    withdraw_round: uint256 = self._current_round() + convert(unbondingPeriod, uint256)
    self.locks[msg.sender][lock_id] = Lock(amount=amount, withdrawRound=withdraw_round)
    self.stakers[msg.sender].nextLockId = lock_id + 1
    self._lower_stake(msg.sender, amount)
    log Unbond(
        delegate=msg.sender,
        delegator=msg.sender,
        unbondingLockId=lock_id,
        amount=amount,
        withdrawRound=withdraw_round,
    )


@external
@nonreentrant
def rebond(unbonding_lock_id: uint256):
    assert self.stakers[msg.sender].bonded > 0, "caller must be bonded"
    self._rebond(unbonding_lock_id)


@external
@nonreentrant
def rebondFromUnbonded(to: address, unbonding_lock_id: uint256):
    assert self.stakers[msg.sender].bonded == 0, "caller must be unbonded"
    assert to == msg.sender, "stake can only be bonded to oneself"
    self._rebond(unbonding_lock_id)


@external
@nonreentrant
def withdrawStake(unbonding_lock_id: uint256):
    lock: Lock = self.locks[msg.sender][unbonding_lock_id]
    assert lock.withdrawRound > 0, "invalid unbonding lock ID"
    assert (
        lock.withdrawRound <= self._current_round()
    ), "withdraw round must be before or equal to the current round"
    self.locks[msg.sender][unbonding_lock_id] = empty(Lock)
    log WithdrawStake(
        delegator=msg.sender,
        unbondingLockId=unbonding_lock_id,
        amount=lock.amount,
        withdrawRound=lock.withdrawRound,
    )
    assert extcall token.transfer(msg.sender, lock.amount), "token transfer failed"


# What there is to see: who is active now.


@external
@view
def isActiveTranscoder(transcoder: address) -> bool:
    return self._is_active(transcoder, self._current_round())


@external
@view
def getTranscoderPoolSize() -> uint256:
    """
    @notice How many are active in the current round: for how many `isActiveTranscoder` says yes.
    """
    if self.changedRound == self._current_round():
        return self.sizeAtStart
    return self.poolSize


@external
@view
def getTotalBonded() -> uint256:
    """
    @notice The stake that the pool had when the current round began.
    """
    if self.changedRound == self._current_round():
        return self.stakeAtStart
    return self.poolStake


# What there is to see: who will be active in the next round.


@external
@view
def getTranscoderPoolMaxSize() -> uint256:
    return poolMax


@external
@view
def getFirstTranscoderInPool() -> address:
    return self.following[empty(address)]


@external
@view
def getNextTranscoderInPool(transcoder: address) -> address:
    return self.following[transcoder]


@external
@view
def nextRoundTotalActiveStake() -> uint256:
    return self.poolStake


# What there is to see: a node and its stake.


@external
@view
def transcoderTotalStake(transcoder: address) -> uint256:
    return self.stakers[transcoder].bonded


@external
@view
def isRegisteredTranscoder(transcoder: address) -> bool:
    return self.stakers[transcoder].bonded > 0


@external
@view
def transcoderStatus(transcoder: address) -> uint8:
    return 1 if self.stakers[transcoder].bonded > 0 else 0


@external
@view
def delegatorStatus(delegator: address) -> uint8:
    if self.stakers[delegator].bonded == 0:
        return UNBONDED
    return PENDING if self.stakers[delegator].startRound > self._current_round() else BONDED


@external
@view
def getTranscoder(
    transcoder: address,
) -> (uint256, uint256, uint256, uint256, uint256, uint256, uint256, uint256, uint256, uint256):
    """
    @return lastRewardRound, rewardCut, feeShare, lastActiveStakeUpdateRound, activationRound, deactivationRound,
            activeCumulativeRewards, cumulativeRewards, cumulativeFees, lastFeeRound
    """
    staker: Staker = self.stakers[transcoder]
    return (
        staker.lastRewardRound,
        staker.rewardCut,
        staker.feeShare,
        0,
        staker.activationRound,
        staker.deactivationRound,
        0,
        0,
        0,
        0,
    )


@external
@view
def getDelegator(delegator: address) -> (uint256, uint256, address, uint256, uint256, uint256, uint256):
    """
    @return bondedAmount, fees, delegateAddress, delegatedAmount, startRound, lastClaimRound, nextUnbondingLockId
    """
    staker: Staker = self.stakers[delegator]
    delegate: address = delegator if staker.bonded > 0 else empty(address)
    return staker.bonded, 0, delegate, staker.bonded, staker.startRound, 0, staker.nextLockId


@external
@view
def pendingStake(delegator: address, end_round: uint256) -> uint256:
    return self.stakers[delegator].bonded


@external
@view
def pendingFees(delegator: address, end_round: uint256) -> uint256:
    return 0


@external
@view
def getDelegatorUnbondingLock(delegator: address, unbonding_lock_id: uint256) -> (uint256, uint256):
    """
    @return amount, withdrawRound
    """
    lock: Lock = self.locks[delegator][unbonding_lock_id]
    return lock.amount, lock.withdrawRound


@external
@view
def isValidUnbondingLock(delegator: address, unbonding_lock_id: uint256) -> bool:
    return self.locks[delegator][unbonding_lock_id].withdrawRound > 0


# Inside.


@internal
@view
def _current_round() -> uint256:
    return staticcall rounds.currentRound()


@internal
@view
def _only_in_open_round():
    assert staticcall rounds.currentRoundInitialized(), "current round is not initialized"


@internal
@view
def _is_active(node: address, round: uint256) -> bool:
    staker: Staker = self.stakers[node]
    return staker.activationRound <= round and round < staker.deactivationRound


@internal
@view
def _is_in_pool(node: address) -> bool:
    return self.stakers[node].deactivationRound == FOR_EVER


@internal
def _rebond(lock_id: uint256):
    lock: Lock = self.locks[msg.sender][lock_id]
    assert lock.withdrawRound > 0, "invalid unbonding lock ID"
    self.locks[msg.sender][lock_id] = empty(Lock)
    self._raise_stake(msg.sender, lock.amount)
    log Rebond(delegate=msg.sender, delegator=msg.sender, unbondingLockId=lock_id, amount=lock.amount)


@internal
def _raise_stake(node: address, amount: uint256):
    """
    @dev Adds to a stake, and finds its place: in the pool, further up or for the first time, or outside.
    """
    current_round: uint256 = self._current_round()
    if self.stakers[node].bonded == 0:
        self.stakers[node].startRound = current_round + 1
    stake: uint256 = self.stakers[node].bonded + amount
    self.stakers[node].bonded = stake
    self._keep_start(current_round)
    if self._is_in_pool(node):
        if amount > 0:
            self.poolStake += amount
            self._unlink(node)
            self._link(node, stake)
        return
    if self.poolSize == poolMax:
        last: address = self.preceding[empty(address)]
        if stake <= self.stakers[last].bonded:
            return
        self._leave(last, current_round)
    self._join(node, stake, current_round)


@internal
def _lower_stake(node: address, amount: uint256):
    current_round: uint256 = self._current_round()
    stake: uint256 = self.stakers[node].bonded - amount
    self._keep_start(current_round)
    if self._is_in_pool(node):
        if stake == 0:
            self._leave(node, current_round)
        else:
            self.poolStake -= amount
            self._unlink(node)
            self._link(node, stake)
    self.stakers[node].bonded = stake
    if stake == 0:
        self.stakers[node].startRound = 0


@internal
def _keep_start(current_round: uint256):
    if self.changedRound != current_round:
        self.changedRound = current_round
        self.sizeAtStart = self.poolSize
        self.stakeAtStart = self.poolStake


@internal
def _join(node: address, stake: uint256, current_round: uint256):
    # Who left this round is active until it ends; coming back at once, they simply stay.
    if not self._is_active(node, current_round):
        self.stakers[node].activationRound = current_round + 1
    self.stakers[node].deactivationRound = FOR_EVER
    self.poolSize += 1
    self.poolStake += stake
    self._link(node, stake)
    log TranscoderActivated(transcoder=node, activationRound=self.stakers[node].activationRound)


@internal
def _leave(node: address, current_round: uint256):
    self.stakers[node].deactivationRound = current_round + 1
    self.poolSize -= 1
    self.poolStake -= self.stakers[node].bonded
    self._unlink(node)
    log TranscoderDeactivated(transcoder=node, deactivationRound=current_round + 1)


@internal
def _link(node: address, stake: uint256):
    """
    @dev Behind all stakes that are as large: whoever was there first stays ahead.
    """
    ahead: address = self.preceding[empty(address)]
    for _: uint256 in range(POOL_MAX):
        if ahead == empty(address) or self.stakers[ahead].bonded >= stake:
            break
        ahead = self.preceding[ahead]
    behind: address = self.following[ahead]
    self.following[ahead] = node
    self.preceding[node] = ahead
    self.following[node] = behind
    self.preceding[behind] = node


@internal
def _unlink(node: address):
    self.following[self.preceding[node]] = self.following[node]
    self.preceding[self.following[node]] = self.preceding[node]
    self.following[node] = empty(address)
    self.preceding[node] = empty(address)
