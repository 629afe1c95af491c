"""What a transaction does to the accounts: the one module that knows the library which runs the bytecode.

It holds no chain: it is given a state's root and the block around it, and says what came of it. Rules are those of
Ethereum's Prague.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from Crypto.Hash import keccak
from eth._utils.address import generate_contract_address
from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.exceptions import OutOfGas, Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.state import PragueState
from eth.vm.spoof import SpoofTransaction
from eth_keys import keys
from eth_keys.exceptions import BadSignature
from eth_utils import ValidationError
from msgspec import Struct
from rlp.exceptions import RLPException

from shoal.errors import Refused

#: The root of no accounts at all, and of no transactions.
EMPTY_ROOT = bytes(BLANK_ROOT_HASH)
NOBODY = bytes(20)
NO_HASH = bytes(32)
#: With an access list, and with two prices; the old form has no type. Those with blobs or delegations are not taken.
KINDS = (1, 2)
#: With what the old form begins: a list in RLP.
LEGACY_FIRST = 0xC0

#: How deep Python may be: its own limit, and what a contract needs that calls others that call others.
DEPTH, DEPTH_OF_CALLS = 1_000, 12_288
# py-evm raises it for the whole process as it is imported. A deep JSON would then break the stack, not its reader.
sys.setrecursionlimit(DEPTH)

_builder = PragueVM.get_transaction_builder()


def keccak_of(data: bytes) -> bytes:
    """Ethereum's hash."""
    return keccak.new(digest_bits=256, data=data).digest()


class Around(Struct, frozen=True):
    """The block around a transaction."""

    number: int
    timestamp_s: int
    base_fee_wei: int
    gas_limit: int
    chain_id: int
    #: Drawn from nothing secret: for tests, not for lotteries.
    randomness: bytes


class Log(Struct, frozen=True):
    """What a contract said."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class Outcome(Struct, frozen=True):
    """What came of a call or a transaction."""

    success: bool
    gas_used: int
    #: What it returned, or why it was reverted, in the contract's own bytes.
    output: bytes
    #: Why it failed, in a few words; "" if it did not.
    error: str = ""
    reverted: bool = False
    logs: tuple[Log, ...] = ()
    #: The most gas that was needed at any time, for what is given back at the end was needed before.
    gas_needed: int = 0


class Call(Struct, frozen=True):
    """A call that nobody signed and nobody pays for."""

    sender: bytes
    #: None makes a contract.
    to: bytes | None
    data: bytes
    value_wei: int
    gas: int
    gas_price_wei: int = 0


class Transaction:
    """A signed transaction, as it travels and as it is executed."""

    __slots__ = ("hash", "raw", "sender", "signed")

    def __init__(self, raw: bytes) -> None:
        """Read it. Raises `Refused` if it is none, or if nobody signed it."""
        if raw and raw[0] < LEGACY_FIRST and raw[0] not in KINDS:
            raise Refused(f"transactions of type {raw[0]} are not taken here; send one of type 0, 1 or 2")
        try:
            signed = _builder.decode(raw)
            signed.validate()
            self.sender = bytes(signed.sender)
            self.hash = bytes(signed.hash)
        # The library raises what it likes on bytes that are no transaction; none of it is our fault.
        except (ValidationError, BadSignature, RLPException, ValueError, TypeError, IndexError) as error:
            raise Refused(f"this is no signed transaction: {error}"[:300]) from error
        self.raw = raw
        self.signed = signed

    @property
    def kind(self) -> int:
        """Its type by EIP-2718; 0 is the old form."""
        return int(self.signed.type_id or 0)

    @property
    def chain_id(self) -> int | None:
        """The chain that it is for; None means any, as it was once."""
        chain = self.signed.chain_id
        return None if chain is None else int(chain)

    @property
    def nonce(self) -> int:
        """Which of its sender's it is."""
        return int(self.signed.nonce)

    @property
    def gas(self) -> int:
        """How much it may use."""
        return int(self.signed.gas)

    @property
    def to(self) -> bytes | None:
        """Whom it calls; None makes a contract."""
        to = bytes(self.signed.to)
        return to or None

    @property
    def creates(self) -> bytes | None:
        """Where the contract will be that it makes, if it makes one."""
        return created_address(self.sender, self.nonce) if self.to is None else None

    @property
    def value_wei(self) -> int:
        """What it brings along."""
        return int(self.signed.value)

    @property
    def data(self) -> bytes:
        """What it says."""
        return bytes(self.signed.data)

    @property
    def max_fee_wei(self) -> int:
        """The most that it pays for a unit of gas."""
        return int(self.signed.max_fee_per_gas)

    @property
    def tip_wei(self) -> int:
        """The most of that for whoever mines it."""
        return int(self.signed.max_priority_fee_per_gas)

    @property
    def intrinsic_gas(self) -> int:
        """What it costs before it does anything."""
        return int(self.signed.intrinsic_gas)

    @property
    def access_list(self) -> Sequence[tuple[bytes, Sequence[int]]]:
        """What it says that it will touch."""
        return tuple(self.signed.access_list) if self.kind else ()

    @property
    def signature(self) -> tuple[int, int, int]:
        """y parity (v in the old form), r and s."""
        signed = self.signed
        return int(signed.y_parity if self.kind else signed.v), int(signed.r), int(signed.s)

    def gas_price_wei(self, base_fee_wei: int) -> int:
        """What a unit of gas costs it in a block of this base fee."""
        return min(self.max_fee_wei, base_fee_wei + self.tip_wei)

    @property
    def cost_wei_max(self) -> int:
        """What its sender must have for it."""
        return self.value_wei + self.gas * self.max_fee_wei


def sign(secret: bytes, fields: dict[str, Any]) -> bytes:
    """A transaction with two prices, signed: what travels. Fields are those of EIP-1559, in the library's words."""
    unsigned = _builder.new_unsigned_dynamic_fee_transaction(**fields)
    return bytes(unsigned.as_signed_transaction(keys.PrivateKey(secret)).encode())


def address_of(secret: bytes) -> bytes:
    """Whose key this is."""
    return bytes(keys.PrivateKey(secret).public_key.to_canonical_address())


def created_address(sender: bytes, nonce: int) -> bytes:
    """Where the contract is that a sender makes with this nonce."""
    return bytes(generate_contract_address(sender, nonce))


class Accounts:
    """All accounts as they stand at one place in the chain; what is done to them is kept only by `save`."""

    def __init__(
        self,
        nodes: MutableMapping[bytes, bytes],
        root: bytes,
        around: Around,
        ancestors: Iterable[bytes] = (),
    ) -> None:
        """`ancestors` are the hashes of the blocks before, the newest first."""
        context = ExecutionContext(
            coinbase=NOBODY,
            timestamp=around.timestamp_s,
            block_number=around.number,
            difficulty=0,
            mix_hash=around.randomness,
            gas_limit=around.gas_limit,
            prev_hashes=ancestors,
            chain_id=around.chain_id,
            base_fee_per_gas=around.base_fee_wei,
            excess_blob_gas=0,
        )
        self._state = PragueState(AtomicDB(nodes), context, root)

    def balance_wei(self, address: bytes) -> int:
        """What it has."""
        return int(self._state.get_balance(address))

    def nonce(self, address: bytes) -> int:
        """How many transactions it has sent."""
        return int(self._state.get_nonce(address))

    def code(self, address: bytes) -> bytes:
        """What it runs, if it is a contract."""
        return bytes(self._state.get_code(address))

    def storage(self, address: bytes, slot: int) -> int:
        """What a contract has written there."""
        return int(self._state.get_storage(address, slot))

    def set_balance_wei(self, address: bytes, balance_wei: int) -> None:
        """Out of thin air."""
        self._state.set_balance(address, balance_wei)

    def execute(self, transaction: Transaction) -> Outcome:
        """Do what it says, and take what it costs. Raises `Refused`, with nothing done, if it cannot be begun."""
        self._state.lock_changes()
        try:
            with _deep():
                computation = self._state.apply_transaction(transaction.signed)
                return _outcome(transaction.signed, computation)
        except ValidationError as error:
            raise Refused(str(error)) from error

    def call(self, call: Call) -> Outcome:
        """Try what would happen; forget these accounts afterwards. Raises `Refused` if it cannot be begun."""
        unsigned = _builder.create_unsigned_transaction(
            nonce=self._state.get_nonce(call.sender),
            gas_price=call.gas_price_wei,
            gas=call.gas,
            to=call.to or b"",
            value=call.value_wei,
            data=call.data,
        )
        spoofed = SpoofTransaction(unsigned, from_=call.sender)
        if call.gas < spoofed.intrinsic_gas:
            raise Refused(f"intrinsic gas too low: have {call.gas}, want {spoofed.intrinsic_gas}")
        try:
            with _deep():
                computation = self._state.apply_transaction(spoofed)
                return _outcome(spoofed, computation)
        except ValidationError as error:
            raise Refused(str(error)) from error

    def save(self) -> bytes:
        """Keep what has been done; the root of it all."""
        self._state.persist()
        return bytes(self._state.state_root)


@contextmanager
def _deep() -> Iterator[None]:
    """Room for calls within calls."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEPTH_OF_CALLS))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _outcome(transaction: Any, computation: Any) -> Outcome:
    error = computation.error if computation.is_error else None
    gas_used = int(PragueVM.finalize_gas_used(transaction, computation))
    logs = [
        Log(bytes(address), tuple(topic.to_bytes(32) for topic in topics), bytes(data))
        for address, topics, data in (computation.get_log_entries() if error is None else ())
    ]
    return Outcome(
        success=error is None,
        gas_used=gas_used,
        output=bytes(computation.output),
        error=_why(error),
        reverted=isinstance(error, Revert),
        logs=tuple(logs),
        gas_needed=max(gas_used, int(transaction.gas - computation.get_gas_remaining())),
    )


def _why(error: Exception | None) -> str:
    if error is None:
        return ""
    if isinstance(error, Revert):
        return "execution reverted"
    if isinstance(error, OutOfGas):
        return "out of gas"
    return str(error)[:200] or type(error).__name__
