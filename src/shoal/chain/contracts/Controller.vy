# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Controller
@notice Names the contracts of one deployment, so that its address, or the broker's, is all that a node needs to know.
        Its owner may name each contract once, and may tell the broker its periods, within limits. Nothing is paused.
@dev    The names are those of Livepeer's Controller. A contract's name is the keccak256 of it, in its words:
        TicketBroker, RoundsManager, BondingManager, ServiceRegistry, LivepeerToken.
"""


event SetContractInfo:
    id: bytes32
    contractAddress: address
    gitCommitHash: bytes20


event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)


owner: public(address)
contracts: HashMap[bytes32, address]
commits: HashMap[bytes32, bytes20]


@deploy
def __init__():
    self.owner = msg.sender
    log OwnershipTransferred(previousOwner=empty(address), newOwner=msg.sender)


@external
def setContractInfo(id: bytes32, contract_address: address, git_commit_hash: bytes20):
    assert msg.sender == self.owner, "Ownable: caller is not the owner"
    assert contract_address != empty(address), "contract is null address"
    assert self.contracts[id] == empty(address), "contract is already named"
    self.contracts[id] = contract_address
    self.commits[id] = git_commit_hash
    log SetContractInfo(id=id, contractAddress=contract_address, gitCommitHash=git_commit_hash)


@external
def transferOwnership(new_owner: address):
    """
    @notice The null address may be given too: then everything stays as it is for good.
    """
    assert msg.sender == self.owner, "Ownable: caller is not the owner"
    log OwnershipTransferred(previousOwner=msg.sender, newOwner=new_owner)
    self.owner = new_owner


@external
@view
def getContract(id: bytes32) -> address:
    return self.contracts[id]


@external
@view
def getContractInfo(id: bytes32) -> (address, bytes20):
    return self.contracts[id], self.commits[id]


@external
@pure
def paused() -> bool:
    return False
