# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title  Rounds
@notice Counts time in rounds of `roundLength` blocks, from round 1 on, and keeps a block hash for each round that
        somebody opened. Nobody owns it, and nothing about it changes.
@dev    The names are those of Livepeer's RoundsManager. On a rollup that answers with the blocks of the chain below,
        as Arbitrum does, rounds are counted in those.
"""


event NewRound:
    round: indexed(uint256)
    blockHash: bytes32


#: About a month of blocks twelve seconds apart: what waits for a round waits no longer.
ROUND_LENGTH_MAX: constant(uint256) = 216_000

roundLength: public(immutable(uint256))
startBlock: immutable(uint256)

lastInitializedRound: public(uint256)
hashes: HashMap[uint256, bytes32]


@deploy
def __init__(round_length: uint256):
    assert round_length > 0, "round length cannot be 0"
    assert round_length <= ROUND_LENGTH_MAX, "round length is too long"
    roundLength = round_length
    startBlock = block.number


@external
def initializeRound():
    """
    @notice Opens the current round. Anybody may, once a round.
    """
    current_round: uint256 = self._current_round()
    assert self.lastInitializedRound < current_round, "round already initialized"
    block_hash: bytes32 = blockhash(block.number - 1)
    self.lastInitializedRound = current_round
    self.hashes[current_round] = block_hash
    log NewRound(round=current_round, blockHash=block_hash)


@external
@view
def blockNum() -> uint256:
    return block.number


@external
@view
def blockHash(number: uint256) -> bytes32:
    assert number < block.number, "can only retrieve past block hashes"
    assert block.number - number <= 256, "can only retrieve hashes for last 256 blocks"
    return blockhash(number)


@external
@view
def blockHashForRound(round: uint256) -> bytes32:
    return self.hashes[round]


@external
@view
def currentRound() -> uint256:
    return self._current_round()


@external
@view
def currentRoundStartBlock() -> uint256:
    return block.number - (block.number - startBlock) % roundLength


@external
@view
def currentRoundInitialized() -> bool:
    return self.lastInitializedRound == self._current_round()


@external
@pure
def currentRoundLocked() -> bool:
    """
    @notice No part of a round is closed to changes: they wait for the next round anyhow.
    """
    return False


@external
@pure
def lastRoundLengthUpdateRound() -> uint256:
    return 1


@external
@view
def lastRoundLengthUpdateStartBlock() -> uint256:
    return startBlock


@internal
@view
def _current_round() -> uint256:
    return 1 + (block.number - startBlock) // roundLength
