"""What is put on the chain of a local network before anybody is paid.

The gateway has a deposit and a reserve for its tickets, the orchestrators a stake each: only who is in the
pool can claim of a reserve. It is play money, on a chain that ends with its folder.
"""

from __future__ import annotations

from shoal.chain.account import Account
from shoal.chain.bindings import Bonding, Rounds, TicketBroker, Token
from shoal.chain.config import deployment, require
from shoal.chain.reader import Reader
from shoal.chain.rpc import Rpc
from shoal.chain.settings import ChainSettings
from shoal.cli.economy import Economy
from shoal.cli.network import Network, Node
from shoal.runtime.keys import NodeKey

STAKE_WEI = 10**18


async def prepare(network: Network, economy: Economy) -> None:
    """Put the money where it belongs, unless it is there already. Raises one of our errors if it cannot be."""
    contracts = deployment(ChainSettings(file=str(network.chain_file)))
    rpc = Rpc(contracts.rpc_url)
    try:
        reader = Reader(rpc, contracts)
        staked = [await _stake(node, reader) for node in network.of("orchestrator")]
        await _fund(network.gateway, reader, economy)
        if any(staked):
            await _next_round(reader)
    finally:
        await rpc.close()


def account(node: Node, reader: Reader) -> Account:
    """A node's own account."""
    return Account(NodeKey.load_or_create(node.home / "key"), reader)


async def _stake(node: Node, reader: Reader) -> bool:
    """Let an orchestrator into the pool; False if it is there."""
    bonding = require(reader.contracts.bonding, "Bonding")
    if await reader.call(bonding, Bonding.total_stake, node.id):
        return False
    mine = account(node, reader)
    await mine.send(require(reader.contracts.token, "Token"), Token.approve.call(bonding, STAKE_WEI))
    await mine.send(bonding, Bonding.bond.call(STAKE_WEI, node.id))
    return True


async def _fund(gateway: Node, reader: Reader, economy: Economy) -> None:
    funds = await reader.funds(gateway.id, gateway.id)
    deposit_wei = max(0, economy.deposit_wei - funds.deposit)
    reserve_wei = max(0, economy.reserve_wei - funds.reserve)
    if deposit_wei or reserve_wei:
        broker = require(reader.contracts.ticket_broker, "TicketBroker")
        call = TicketBroker.fund_deposit_and_reserve.call(deposit_wei, reserve_wei)
        await account(gateway, reader).send(broker, call, deposit_wei + reserve_wei)


async def _next_round(reader: Reader) -> None:
    """Stakes count from the next round on: let it begin."""
    rounds = require(reader.contracts.rounds, "Rounds")
    length, seen = int(await reader.call(rounds, Rounds.round_length)), await reader.rounds()
    await reader.rpc.ask("anvil_mine", hex(length - seen.block % length))
