# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Reenterer
@notice Does what it is told, and whenever it is paid, calls somebody again before it is done: what a contract that pays
        must be safe from.
"""

refuses: bool
victim: address
words: Bytes[8192]
inside: transient(bool)
entered: public(uint256)


@external
@payable
def act(to: address, words: Bytes[8192]):
    """
    @notice A call in its own name. Whoever undoes it undoes this as well, with the same reason.
    """
    raw_call(to, words, value=msg.value)


@external
def plan(victim: address, words: Bytes[8192], refuses: bool):
    """
    @notice What it will do when it is paid: call the victim, or refuse the money.
    """
    self.victim = victim
    self.words = words
    self.refuses = refuses


@external
@payable
def __default__():
    assert not self.refuses, "I will not be paid"
    if self.inside or self.victim == empty(address):
        return
    self.inside = True
    if raw_call(self.victim, self.words, revert_on_failure=False):
        self.entered += 1
    self.inside = False
