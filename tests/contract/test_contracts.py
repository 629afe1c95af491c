"""The contracts are what their sources compile to, and speak as those that clients know already."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onchain import CONTRACTS, ROOT, SHELVES, artifact

SOURCES = sorted(source for shelf in SHELVES for source in shelf.glob("*.vy"))
PYTHON = ROOT / ".venvs/contracts/bin/python"
#: The most that a contract may have, by Ethereum's rules.
CODE_BYTES_MAX = 24_576

TICKET = "(address,address,uint256,uint256,uint256,bytes32,bytes)"

#: What Livepeer's TicketBroker answers to.
TICKET_BROKER = f"""
redeemWinningTicket({TICKET},bytes,uint256) nonpayable
batchRedeemWinningTickets({TICKET}[],bytes[],uint256[]) nonpayable
getTicketHash({TICKET}) pure bytes32
usedTickets(bytes32) view bool
fundDeposit() payable
fundReserve() payable
fundDepositAndReserve(uint256,uint256) payable
fundDepositAndReserveFor(address,uint256,uint256) payable
unlock() nonpayable
cancelUnlock() nonpayable
withdraw() nonpayable
isUnlockInProgress(address) view bool
unlockPeriod() view uint256
ticketValidityPeriod() view uint256
getSenderInfo(address) view (uint256,uint256) (uint256,uint256)
getReserveInfo(address) view (uint256,uint256)
claimableReserve(address,address) view uint256
claimedReserve(address,address) view uint256
controller() view address
setUnlockPeriod(uint256) nonpayable
setTicketValidityPeriod(uint256) nonpayable
event DepositFunded(address indexed sender, uint256 amount)
event ReserveFunded(address indexed reserveHolder, uint256 amount)
event ReserveClaimed(address indexed reserveHolder, address claimant, uint256 amount)
event Unlock(address indexed sender, uint256 startRound, uint256 endRound)
event UnlockCancelled(address indexed sender)
event Withdrawal(address indexed sender, uint256 deposit, uint256 reserve)
event WinningTicketTransfer(address indexed sender, address indexed recipient, uint256 amount)
event WinningTicketRedeemed(address indexed sender, address indexed recipient, uint256 faceValue, uint256 winProb, \
uint256 senderNonce, uint256 recipientRand, bytes auxData)
event ParameterUpdate(string param)
"""

SERVICE_REGISTRY = """
controller() view address
setServiceURI(string) nonpayable
getServiceURI(address) view string
event ServiceURIUpdate(address indexed addr, string serviceURI)
"""

ROUNDS = """
initializeRound() nonpayable
blockNum() view uint256
blockHash(uint256) view bytes32
blockHashForRound(uint256) view bytes32
currentRound() view uint256
currentRoundInitialized() view bool
currentRoundStartBlock() view uint256
lastInitializedRound() view uint256
roundLength() view uint256
event NewRound(uint256 indexed round, bytes32 blockHash)
"""

BONDING = """
bond(uint256,address) nonpayable
unbond(uint256) nonpayable
rebond(uint256) nonpayable
rebondFromUnbonded(address,uint256) nonpayable
withdrawStake(uint256) nonpayable
transcoder(uint256,uint256) nonpayable
reward() nonpayable
unbondingPeriod() view uint64
isActiveTranscoder(address) view bool
isRegisteredTranscoder(address) view bool
isValidUnbondingLock(address,uint256) view bool
transcoderStatus(address) view uint8
delegatorStatus(address) view uint8
transcoderTotalStake(address) view uint256
pendingStake(address,uint256) view uint256
pendingFees(address,uint256) view uint256
getTotalBonded() view uint256
getTranscoderPoolSize() view uint256
getTranscoderPoolMaxSize() view uint256
getFirstTranscoderInPool() view address
getNextTranscoderInPool(address) view address
getTranscoder(address) view uint256 uint256 uint256 uint256 uint256 uint256 uint256 uint256 uint256 uint256
getDelegator(address) view uint256 uint256 address uint256 uint256 uint256 uint256
getDelegatorUnbondingLock(address,uint256) view uint256 uint256
event Bond(address indexed newDelegate, address indexed oldDelegate, address indexed delegator, \
uint256 additionalAmount, uint256 bondedAmount)
event Unbond(address indexed delegate, address indexed delegator, uint256 unbondingLockId, uint256 amount, \
uint256 withdrawRound)
event Rebond(address indexed delegate, address indexed delegator, uint256 unbondingLockId, uint256 amount)
event WithdrawStake(address indexed delegator, uint256 unbondingLockId, uint256 amount, uint256 withdrawRound)
event TranscoderUpdate(address indexed transcoder, uint256 rewardCut, uint256 feeShare)
event TranscoderActivated(address indexed transcoder, uint256 activationRound)
event TranscoderDeactivated(address indexed transcoder, uint256 deactivationRound)
event Reward(address indexed transcoder, uint256 amount)
"""

CONTROLLER = """
owner() view address
getContract(bytes32) view address
getContractInfo(bytes32) view address bytes20
setContractInfo(bytes32,address,bytes20) nonpayable
transferOwnership(address) nonpayable
event SetContractInfo(bytes32 id, address contractAddress, bytes20 gitCommitHash)
event OwnershipTransferred(address indexed previousOwner, address indexed newOwner)
"""

TOKEN = """
name() view string
symbol() view string
decimals() view uint8
totalSupply() view uint256
balanceOf(address) view uint256
allowance(address,address) view uint256
transfer(address,uint256) nonpayable bool
transferFrom(address,address,uint256) nonpayable bool
approve(address,uint256) nonpayable bool
event Transfer(address indexed sender, address indexed receiver, uint256 value)
event Approval(address indexed owner, address indexed spender, uint256 value)
"""

KNOWN = {
    "TicketBroker": TICKET_BROKER,
    "ServiceRegistry": SERVICE_REGISTRY,
    "Rounds": ROUNDS,
    "Bonding": BONDING,
    "Controller": CONTROLLER,
    "Token": TOKEN,
}


def type_of(entry: dict[str, Any]) -> str:
    """A type as it is hashed."""
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    return f"({','.join(map(type_of, entry['components']))}){entry['type'][5:]}"


def line(entry: dict[str, Any]) -> str:
    """A function or an event in one line."""
    if entry["type"] == "event":
        marks = {True: " indexed ", False: " "}
        fields = [type_of(one) + marks[one["indexed"]] + one["name"] for one in entry["inputs"]]
        return f"event {entry['name']}({', '.join(fields)})"
    takes = ",".join(map(type_of, entry["inputs"]))
    gives = [type_of(one) for one in entry["outputs"]]
    return " ".join([f"{entry['name']}({takes})", entry["stateMutability"], *gives])


@pytest.mark.parametrize("name", KNOWN)
def test_what_clients_know_is_there(name: str) -> None:
    there = {line(entry) for entry in artifact(name)["abi"] if entry["type"] in ("function", "event")}
    assert set(KNOWN[name].strip().splitlines()) <= there


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_an_artifact_says_what_it_was_made_from(source: Path) -> None:
    made = artifact(source.stem)
    assert made["contract"] == source.stem
    assert made["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    pragmas = dict(row[9:].split() for row in source.read_text().splitlines() if row.startswith("# pragma "))
    assert made["compiler"] == f"vyper {pragmas['version']}"
    assert made["evm_version"] == pragmas["evm-version"] == "cancun"
    assert len(made["deployed_bytecode"]) // 2 - 1 <= CODE_BYTES_MAX
    assert made["deployed_bytecode"][2:] in made["bytecode"]


@pytest.mark.parametrize("shelf", SHELVES, ids=["ours", "the tests"])
def test_the_sources_compile_to_the_artifacts(shelf: Path) -> None:
    assert PYTHON.exists(), "the compiler is not installed: run `make test`, or `make .venvs/contracts/made`"
    command = [str(PYTHON), str(CONTRACTS / "compile.py"), "--check", str(shelf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_artifact_that_was_touched_is_noticed(tmp_path: Path) -> None:
    shelf = tmp_path / "contracts"
    shelf.mkdir()
    for name in ("ServiceRegistry.vy", "ServiceRegistry.json"):
        (shelf / name).write_bytes((CONTRACTS / name).read_bytes())
    made = json.loads((shelf / "ServiceRegistry.json").read_text())
    made["bytecode"] = made["bytecode"][:-2] + "00"
    (shelf / "ServiceRegistry.json").write_text(json.dumps(made, indent=1) + "\n")
    command = [str(PYTHON), str(CONTRACTS / "compile.py"), "--check", str(shelf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "ServiceRegistry.json" in done.stderr) == (1, True)
