"""Where a chain and its contracts are: read from its settings, and from the file that they name."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from shoal.chain.settings import ChainSettings
from shoal.errors import Refused
from shoal.ids import NodeId
from shoal.money.ticket import Address

FILE_BYTES_MAX = 1 << 20


class Deployment(Struct, frozen=True):
    """One chain and the contracts on it; "" where there is none."""

    rpc_url: str
    chain_id: int
    ticket_broker: NodeId
    rounds: NodeId
    bonding: NodeId
    service_registry: NodeId
    payouts: NodeId
    token: NodeId = NodeId("")


class _File(Struct):
    rpc_url: str = ""
    chain_id: int = 0
    contracts: dict[str, str] = {}


def deployment(settings: ChainSettings) -> Deployment:
    """What the settings and their file come to. Raises `Refused` if they do not name a chain."""
    content = _read(Path(settings.file).expanduser()) if settings.file else _File()
    url = settings.rpc_url or content.rpc_url
    if not url:
        raise Refused("no chain is named: set chain.file to a chain.json, or chain.rpc_url and the addresses")

    def contract(name: str, own: str) -> NodeId:
        return _address(f"the contract {name}", own or content.contracts.get(name, ""))

    return Deployment(
        url,
        settings.chain_id or content.chain_id,
        contract("TicketBroker", settings.ticket_broker),
        contract("Rounds", settings.rounds),
        contract("Bonding", settings.bonding),
        contract("ServiceRegistry", settings.service_registry),
        contract("Payouts", settings.payouts),
        contract("Token", ""),
    )


def require(address: NodeId, name: str) -> NodeId:
    """A contract's address. Raises `Refused` if it is not known."""
    if not address:
        raise Refused(f"the address of {name} is not known: set it in the chain's settings or file")
    return address


def _address(name: str, text: str) -> NodeId:
    try:
        return NodeId(text and msgspec.convert(text.lower(), Address))
    except msgspec.ValidationError as error:
        raise Refused(f"{name}: {text!r} is no address; it has 0x and 40 hex digits") from error


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX)
        return msgspec.json.decode(text, type=_File)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}; is the chain running?") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is no chain.json: {error}") from error
