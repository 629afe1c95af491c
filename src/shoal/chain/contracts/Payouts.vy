# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Payouts
@notice An operator pays many workers at once, each batch once. Nobody owns the contract, and it keeps nothing: all that
        comes with a batch goes out with it. Only what a worker's address would not take waits: for the worker, and
        after a month for the operator.
"""


event PaidOut:
    operator: indexed(address)
    worker: indexed(address)
    batch: indexed(bytes32)
    amount: uint256


event Refused:
    operator: indexed(address)
    worker: indexed(address)
    amount: uint256


event Fetched:
    operator: indexed(address)
    worker: indexed(address)
    to: address
    amount: uint256


event TakenBack:
    operator: indexed(address)
    worker: indexed(address)
    amount: uint256


WORKERS_MAX: constant(uint256) = 256
WAITS_S: constant(uint256) = 30 * 24 * 3600

#: Enough for a wallet that is a contract; too little for one worker to make the batch dear.
GAS_FOR_WORKER: constant(uint256) = 50_000

#: All that an operator ever paid a worker. What was taken back does not count.
paidTo: public(HashMap[address, HashMap[address, uint256]])
#: Whether a batch of an operator has been paid.
isPaid: public(HashMap[address, HashMap[bytes32, bool]])
#: What of it a worker's address would not take, and from when on the operator may take it back.
waiting: public(HashMap[address, HashMap[address, uint256]])
waitsUntil: public(HashMap[address, HashMap[address, uint256]])


@external
@payable
@nonreentrant
def payOut(batch: bytes32, workers: DynArray[address, WORKERS_MAX], amounts: DynArray[uint256, WORKERS_MAX]):
    """
    @notice Pays each worker their amount. The value sent must be the sum of the amounts.
    """
    assert not self.isPaid[msg.sender][batch], "batch is paid"
    assert len(workers) == len(amounts), "workers and amounts differ in number"
    self.isPaid[msg.sender][batch] = True
    left: uint256 = msg.value
    for i: uint256 in range(len(workers), bound=WORKERS_MAX):
        worker: address = workers[i]
        amount: uint256 = amounts[i]
        assert worker != empty(address), "worker is null address"
        assert amount <= left, "value sent is not the sum of the amounts"
        left -= amount
        self.paidTo[msg.sender][worker] += amount
        log PaidOut(operator=msg.sender, worker=worker, batch=batch, amount=amount)
        if not raw_call(worker, b"", value=amount, gas=GAS_FOR_WORKER, revert_on_failure=False):
            self.waiting[msg.sender][worker] += amount
            self.waitsUntil[msg.sender][worker] = block.timestamp + WAITS_S
            log Refused(operator=msg.sender, worker=worker, amount=amount)
    assert left == 0, "value sent is not the sum of the amounts"


@external
@nonreentrant
def fetch(operator: address, to: address):
    """
    @notice Sends what waits for the caller where the caller says.
    """
    assert to != empty(address), "receiver is null address"
    amount: uint256 = self._take(operator, msg.sender)
    log Fetched(operator=operator, worker=msg.sender, to=to, amount=amount)
    assert raw_call(to, b"", value=amount, revert_on_failure=False), "receiver refused the payment"


@external
@nonreentrant
def takeBack(worker: address):
    """
    @notice Returns to the operator what a worker has left waiting for a month.
    """
    assert block.timestamp >= self.waitsUntil[msg.sender][worker], "payment still waits for its worker"
    amount: uint256 = self._take(msg.sender, worker)
    self.paidTo[msg.sender][worker] -= amount
    log TakenBack(operator=msg.sender, worker=worker, amount=amount)
    assert raw_call(msg.sender, b"", value=amount, revert_on_failure=False), "receiver refused the payment"


@internal
def _take(operator: address, worker: address) -> uint256:
    amount: uint256 = self.waiting[operator][worker]
    assert amount > 0, "nothing is waiting"
    self.waiting[operator][worker] = 0
    return amount
