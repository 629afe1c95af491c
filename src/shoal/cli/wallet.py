"""A key and its money on chain: make or import the key, see what it has, put down a deposit, take it out again.

A gateway pays its orchestrators out of the deposit, and vouches with the reserve. Taking them out takes rounds: unlock
first, withdraw then. Amounts have a unit: 0.1eth, 5gwei, 1000wei.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from shoal.chain.account import Account
from shoal.chain.amounts import eth, wei_of
from shoal.chain.bindings import Rounds, TicketBroker
from shoal.chain.config import deployment, require
from shoal.chain.keystore import open_keystore, write_keystore
from shoal.chain.reader import Reader, Receipt
from shoal.chain.rpc import Reverted, Rpc
from shoal.chain.settings import ChainSettings
from shoal.cli.terminal import console as new_console
from shoal.errors import Refused
from shoal.runtime.config import home, keys, read_settings
from shoal.runtime.keys import NodeKey, keep_secret, secret_in

EXAMPLE = """\
  shoal wallet balance --json
  shoal wallet fund --deposit 0.5eth --reserve 0.1eth
  shoal wallet import UTC--2026-01-01--key.json --key ~/gateway/key
  shoal wallet unlock, and some rounds later: shoal wallet withdraw"""

KEY_FILE = "key"


class Settings(Struct, frozen=True, kw_only=True):
    """Which chain."""

    chain: ChainSettings = ChainSettings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One action each, and what all have in common."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="the key's file (the gateway's: that of `shoal up`, else its own)",
    )
    shared.add_argument("--json", action="store_true", help="print JSON")
    chain = argparse.ArgumentParser(add_help=False, parents=[shared])
    group = chain.add_argument_group(
        "chain", "that of `shoal up` without them; or in the environment, as SHOAL_WALLET_CHAIN_FILE"
    )
    for key in keys(Settings):
        group.add_argument(key.flag, dest=key.name, metavar="VALUE")
    secret = argparse.ArgumentParser(add_help=False, parents=[shared])
    secret.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="its first line; without it you are asked"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("create", parents=[shared], help="make a new key")
    add = actions.add_parser("import", parents=[secret], help="take the key out of a keystore file")
    add.add_argument("keystore", type=Path, metavar="KEYSTORE")
    out = actions.add_parser("export", parents=[secret], help="write the key to a keystore file")
    out.add_argument("keystore", type=Path, metavar="KEYSTORE")
    actions.add_parser("balance", parents=[chain], help="what the account has, and what it has put down")
    fund = actions.add_parser("fund", parents=[chain], help="put money down")
    fund.add_argument("--deposit", default="0wei", metavar="AMOUNT", help="what tickets are paid from")
    fund.add_argument("--reserve", default="0wei", metavar="AMOUNT", help="what stands in once that is spent")
    actions.add_parser("unlock", parents=[chain], help="begin to take all of it out")
    actions.add_parser("cancel-unlock", parents=[chain], help="leave it where it is after all")
    actions.add_parser("withdraw", parents=[chain], help="take it out, once it is unlocked")


def run(options: argparse.Namespace) -> int:
    """Do it, and say what came of it."""
    act = _KEYS.get(options.action)
    value = act(options) if act is not None else asyncio.run(_on_chain(options))
    if options.json:
        print(json.dumps(value, indent=2))
        return 0
    console = new_console()
    for name, said in _lines(value):
        console.print(f"{name:<12} {said}", markup=False)
    return 0


# The key


def _create(options: argparse.Namespace) -> dict[str, Any]:
    path = _key_file(options)
    if path.exists():
        raise Refused(f"there is a key in {path} already: name another file with --key")
    return {"address": NodeKey.load_or_create(path).id, "key": str(path)}


def _import(options: argparse.Namespace) -> dict[str, Any]:
    path = _key_file(options)
    if path.exists():
        raise Refused(f"there is a key in {path} already: name another file with --key")
    secret = open_keystore(options.keystore, _passphrase(options, twice=False))
    return {"address": keep_secret(path, secret).id, "key": str(path)}


def _export(options: argparse.Namespace) -> dict[str, Any]:
    path = _key_file(options)
    secret = secret_in(path)
    write_keystore(options.keystore, secret, _passphrase(options, twice=True))
    return {"address": NodeKey(secret).id, "keystore": str(options.keystore)}


def _passphrase(options: argparse.Namespace, *, twice: bool) -> str:
    if options.passphrase_file is not None:
        try:
            return str(options.passphrase_file.read_text().splitlines()[0])
        except (OSError, IndexError, UnicodeDecodeError) as error:
            raise Refused(f"{options.passphrase_file} cannot be read, or is empty") from error
    if not sys.stdin.isatty():
        raise Refused("a passphrase is needed: type it in a terminal, or name a --passphrase-file")
    said = getpass.getpass("passphrase: ")
    if twice and getpass.getpass("again: ") != said:
        raise Refused("those were two passphrases; try again")
    return said


_KEYS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "create": _create,
    "import": _import,
    "export": _export,
}


# Its money


async def _on_chain(options: argparse.Namespace) -> dict[str, Any]:
    key = NodeKey.load(_key_file(options))
    contracts = deployment(_chain(options))
    rpc = Rpc(contracts.rpc_url)
    try:
        return await _ON_CHAIN[options.action](Account(key, Reader(rpc, contracts)), options)
    finally:
        await rpc.close()


async def _balance(account: Account, options: argparse.Namespace) -> dict[str, Any]:
    reader, me = account.reader, account.key.id
    chain_id = await reader.chain_id()
    balance_wei, funds = await reader.balance_wei(me), await reader.funds(me, me)
    current = int(await reader.call(require(reader.contracts.rounds, "Rounds"), Rounds.current_round))
    return {
        "address": me,
        "chain_id": chain_id,
        "balance_wei": str(balance_wei),
        "deposit_wei": str(funds.deposit),
        "reserve_wei": str(funds.reserve),
        "round": current,
        "withdraw_round": (funds.withdraw_round or None) if funds.deposit + funds.reserve else None,
    }


async def _fund(account: Account, options: argparse.Namespace) -> dict[str, Any]:
    deposit, reserve = wei_of(options.deposit), wei_of(options.reserve)
    if deposit + reserve == 0:
        raise Refused("say how much: --deposit 0.5eth, --reserve 0.1eth or both")
    data = TicketBroker.fund_deposit_and_reserve.call(deposit, reserve)
    return await _sent(account, data, deposit + reserve)


async def _unlock(account: Account, options: argparse.Namespace) -> dict[str, Any]:
    return await _sent(account, TicketBroker.unlock.call())


async def _cancel_unlock(account: Account, options: argparse.Namespace) -> dict[str, Any]:
    return await _sent(account, TicketBroker.cancel_unlock.call())


async def _withdraw(account: Account, options: argparse.Namespace) -> dict[str, Any]:
    try:
        return await _sent(account, TicketBroker.withdraw.call())
    except Reverted as error:
        state = await _balance(account, options)
        if error.message == "account is locked":
            raise Refused(
                f"it is locked until round {state['withdraw_round']}, and this is round {state['round']}: "
                "try again then"
            ) from error
        if error.message == "no unlock request in progress":
            raise Refused("nothing is being unlocked: say `shoal wallet unlock` first") from error
        raise


async def _sent(account: Account, data: bytes, value_wei: int = 0) -> dict[str, Any]:
    """What was sent, and how the account stands after it."""
    broker = require(account.reader.contracts.ticket_broker, "TicketBroker")
    receipt: Receipt = await account.send(broker, data, value_wei)
    after = await _balance(account, argparse.Namespace())
    return {"transaction": receipt.transaction, "fee_wei": str(receipt.fee_wei), **after}


_ON_CHAIN: dict[str, Callable[[Account, argparse.Namespace], Coroutine[Any, Any, dict[str, Any]]]] = {
    "balance": _balance,
    "fund": _fund,
    "unlock": _unlock,
    "cancel-unlock": _cancel_unlock,
    "withdraw": _withdraw,
}


# Where things are


def _key_file(options: argparse.Namespace) -> Path:
    if options.key is not None:
        return Path(options.key).expanduser()
    for folder in (home(os.environ) / "networks" / "local" / "gateway", home(os.environ) / "gateway"):
        if (folder / KEY_FILE).exists():
            return folder / KEY_FILE
    return home(os.environ) / "gateway" / KEY_FILE


def _chain(options: argparse.Namespace) -> ChainSettings:
    flags = {key.name: vars(options)[key.name] for key in keys(Settings)}
    chosen = read_settings(
        Settings,
        role="wallet",
        environment=os.environ,
        flags={name: text for name, text in flags.items() if text is not None},
    ).chain
    local = home(os.environ) / "networks" / "local" / "chain" / "chain.json"
    return ChainSettings(file=str(local)) if chosen.off and local.exists() else chosen


def _lines(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same for people: amounts in eth."""
    lines = []
    for name, said in value.items():
        if name == "withdraw_round":
            lines.append(("unlocking", "no" if said is None else f"may be withdrawn from round {said} on"))
        elif name.endswith("_wei"):
            lines.append((name.removesuffix("_wei"), f"{eth(int(said))} eth"))
        else:
            lines.append((name.replace("_", " "), str(said)))
    return lines
