# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Token
@notice What stakes are made of: an ERC-20 token. Whoever deploys it names, once, who mints it; nobody else ever can.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

implements: IERC20
implements: IERC20Detailed


event MinterSet:
    minter: indexed(address)


name: public(constant(String[5])) = "Shoal"
symbol: public(constant(String[5])) = "SHOAL"
decimals: public(constant(uint8)) = 18

deployer: immutable(address)
minter: public(address)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__():
    deployer = msg.sender


@external
def setMinter(minter: address):
    assert msg.sender == deployer, "caller is not the deployer"
    assert self.minter == empty(address), "minter is already set"
    assert minter != empty(address), "minter is null address"
    self.minter = minter
    log MinterSet(minter=minter)


@external
def mint(to: address, amount: uint256):
    assert msg.sender == self.minter, "caller is not the minter"
    assert to != empty(address), "receiver is null address"
    self.totalSupply += amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=empty(address), receiver=to, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    """
    @dev An allowance of 2**256 - 1 is not used up.
    """
    allowed: uint256 = self.allowance[owner][msg.sender]
    assert amount <= allowed, "insufficient allowance"
    if allowed != max_value(uint256):
        self.allowance[owner][msg.sender] = allowed - amount
    self._move(owner, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@internal
def _move(owner: address, to: address, amount: uint256):
    assert to != empty(address), "receiver is null address"
    assert amount <= self.balanceOf[owner], "insufficient balance"
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=owner, receiver=to, value=amount)
