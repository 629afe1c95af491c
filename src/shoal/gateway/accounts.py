"""Who may use this gateway and how far: tenants, their keys, what these may do, and what they have used.

Facts make and change them, so a replay arrives where the gateway was; those of the settings stand beside them and are
never journaled. Nothing here reads a clock or a request: it is asked before a job is accepted, and told of its ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from shoal.errors import Broken, Busy, Conflict, NotFound, NotGranted, Refused, Unauthorized
from shoal.gateway.config import Rules
from shoal.gateway.config import Tenant as ConfiguredTenant
from shoal.gateway.limits import UNLIMITED, Limits, Meter, Reading, read
from shoal.gateway.secret import hashed, key_id
from shoal.gateway.usage import Line, Usage
from shoal.ids import ClientId, JobId, KeyId
from shoal.machine import Effect, Event, Fact, Value
from shoal.money.ledger import Ledger
from shoal.money.wei import Wei
from shoal.units import Instant
from shoal.wire.words import Fault
from shoal.work.lifecycle import Job
from shoal.work.queue import Need

CLIENT_ID_DIGITS = 32

#: What a key may be made for: sending and stopping jobs, looking at them, the statement, and its tenant's keys.
Permission = Literal["submit", "read", "usage", "admin"]
SUBMIT: Permission = "submit"
READ: Permission = "read"
USAGE: Permission = "usage"
ADMIN: Permission = "admin"
PERMISSIONS: tuple[Permission, ...] = (SUBMIT, READ, USAGE, ADMIN)
#: What a key may do of which nothing is said.
USUAL: tuple[Permission, ...] = (SUBMIT, READ, USAGE)


class TenantMade(Fact, frozen=True):
    """The operator knows somebody. Jobs, money and keys are a tenant's; it goes by `tenant` for good."""

    tenant: ClientId
    name: str
    weight: int = 1
    priority_max: str = "normal"
    limits: tuple[str, ...] = ()


class TenantChanged(Fact, frozen=True):
    """What a tenant is granted from now on, all of it."""

    tenant: ClientId
    weight: int
    priority_max: str
    limits: tuple[str, ...] = ()


class KeyMade(Fact, frozen=True):
    """A tenant has a key; what is kept of it is its hash. No pipelines or models named means all of them."""

    key: KeyId
    tenant: ClientId
    hash: bytes
    name: str = ""
    may: tuple[str, ...] = USUAL
    pipelines: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    #: 0 for never.
    expires_at: Instant = Instant(0)
    #: The key that made it, "" if it was the operator.
    maker: KeyId = KeyId("")


class KeyRevoked(Fact, frozen=True):
    """A key is good for nothing from now on."""

    key: KeyId


AccountFact = TenantMade | TenantChanged | KeyMade | KeyRevoked
ACCOUNT_FACTS: tuple[type[Fact], ...] = (TenantMade, TenantChanged, KeyMade, KeyRevoked)


class AccountAsked(Event, frozen=True):
    """Somebody who may do so wants this to be a fact."""

    asked: JobId
    fact: AccountFact


class Decided(Effect, frozen=True):
    """Answer `AccountAsked`: it is a fact, or why it is none."""

    asked: JobId
    fault: Fault | None = None


class Tenant(Value, frozen=True):
    """Somebody who uses this gateway."""

    id: ClientId
    name: str
    weight: int = 1
    priority_max: str = "normal"
    limits: Limits = UNLIMITED
    #: True if it stands in the settings: it is changed there alone.
    configured: bool = False


class Key(Value, frozen=True):
    """One key."""

    id: KeyId
    tenant: ClientId
    hash: bytes
    name: str = ""
    may: frozenset[str] = frozenset(USUAL)
    pipelines: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    limits: Limits = UNLIMITED
    made_at: Instant = Instant(0)
    expires_at: Instant = Instant(0)
    revoked_at: Instant = Instant(0)
    maker: KeyId = KeyId("")
    configured: bool = False

    def require_good(self, now: Instant) -> None:
        """Raise `Unauthorized` for a key that is good for nothing any more."""
        if self.revoked_at:
            raise Unauthorized(f"{self.id} is revoked; ask whoever runs this gateway for another key")
        if self.expires_at and now >= self.expires_at:
            raise Unauthorized(f"{self.id} has expired; ask whoever runs this gateway for another key")

    def require(self, permission: str) -> None:
        """Raise `NotGranted` unless it may do this."""
        if permission and permission not in self.may:
            raise NotGranted(
                f"{self.id} may {', '.join(sorted(self.may)) or 'do nothing'}, and this takes {permission}; "
                "ask whoever runs this gateway for a key that may"
            )

    def require_need(self, need: Need) -> None:
        """Raise `NotGranted` unless it may have this pipeline and model."""
        for kind, name, granted in (
            ("pipeline", need[0], self.pipelines),
            ("model", need[1], self.models),
        ):
            if granted and name not in granted:
                raise NotGranted(f"{self.id} is for the {kind} {', '.join(sorted(granted))}, not for {name}")


class KeyLine(Value, frozen=True, array_like=True):
    """A key in a snapshot."""

    made: KeyMade
    made_at: Instant
    revoked_at: Instant


class State(Struct, frozen=True):
    """All that is journaled of accounts, in a snapshot."""

    tenants: tuple[TenantMade, ...] = ()
    keys: tuple[KeyLine, ...] = ()
    meters: tuple[Reading, ...] = ()
    usage: tuple[Line, ...] = ()


class Accounts:
    """All tenants and keys, what they have used, and what open jobs hold."""

    def __init__(
        self, rules: Rules, api_keys: Iterable[str] = (), tenants: Sequence[ConfiguredTenant] = ()
    ) -> None:
        """Keys and tenants of the settings. Raises `Refused` if two are the same, or a key is empty."""
        self._rules = rules
        self.tenants: dict[ClientId, Tenant] = {}
        self.keys: dict[KeyId, Key] = {}
        self.meters: dict[str, Meter] = {}
        self.usage = Usage(days_max=rules.usage_days_max, rows_max=rules.usage_rows_max)
        self._by_hash: dict[bytes, Key] = {}
        self._configure(tuple(api_keys), tenants)
        #: True once a key is needed; that the last one is revoked opens nothing again.
        self.closed = rules.closed or bool(self.keys)

    def _configure(self, api_keys: tuple[str, ...], tenants: Sequence[ConfiguredTenant]) -> None:
        texts = [*api_keys, *(tenant.key for tenant in tenants)]
        names = [tenant.name for tenant in tenants]
        if "" in texts or len(set(texts)) < len(texts) or len(set(names)) < len(names):
            raise Refused("every key and every tenant's name is its own, and none is empty")
        for text in api_keys:
            self._know(text, Tenant(client_id(hashed(text.encode())), "", configured=True))
        for said in tenants:
            id_ = client_id(hashed(said.key.encode()))
            limits = said.limits
            self._know(
                said.key, Tenant(id_, said.name, said.weight, said.priority_max, limits, configured=True)
            )

    def _know(self, text: str, tenant: Tenant) -> None:
        hash_ = hashed(text.encode())
        key = Key(key_id(hash_), tenant.id, hash_, configured=True)
        self._put_tenant(tenant if tenant.name else Tenant(tenant.id, key.id, configured=True))
        self._put_key(key)

    # What may be asked

    def find(self, hash_: bytes) -> Key | None:
        """The key of this hash, good or not."""
        return self._by_hash.get(hash_)

    def tenant_named(self, name: str) -> Tenant:
        """A tenant by its id or its name. Raises `NotFound`, or `Refused` if there are several."""
        known = self.tenants.get(ClientId(name))
        found = [known] if known is not None else [t for t in self.tenants.values() if t.name == name]
        if not found:
            raise NotFound(f"there is no tenant {name[:100]!r}; make one: shoal tenants create NAME")
        if len(found) > 1:
            ids = ", ".join(tenant.id for tenant in found)
            raise Refused(f"several tenants are called {name}: name one by its id, {ids}")
        return found[0]

    def key_named(self, name: str) -> Key:
        """A key by its id. Raises `NotFound`."""
        key = self.keys.get(KeyId(name))
        if key is None:
            raise NotFound(f"there is no key {name[:100]!r}")
        return key

    def require_pace(self, client: ClientId, key: KeyId, now: Instant) -> None:
        """Raise `RateLimited` if this key or its tenant may send no further job now."""
        for name, who in ((client, "this tenant"), (key, "this key")):
            meter = self.meters.get(name)
            if meter is not None and meter.paced:
                meter.require_pace(who, now)

    def require_job(self, client: ClientId, api_key: KeyId, need: Need, hold: Wei, now: Instant) -> None:
        """Raise why a job that may cost `hold` cannot be accepted: nothing has changed then."""
        if api_key:
            key = self.keys.get(api_key)
            if key is None or key.tenant not in self.tenants:
                raise Unauthorized
            key.require_good(now)
            key.require(SUBMIT)
            key.require_need(need)
        elif self.closed:
            raise Unauthorized  # it was open when this one came in
        for name, who in ((client, "this tenant"), (api_key, "this key")):
            meter = self.meters.get(name)
            if meter is not None and meter.limited:
                meter.require_pace(who, now)
                meter.require_money(who, hold, now)

    # What a job does

    def opened(self, client: ClientId, key: KeyId, hold: Wei, now: Instant) -> None:
        """A job was accepted."""
        meters = self.meters
        (meters.get(client) or self._meter(client)).open(hold, now)
        if key:
            (meters.get(key) or self._meter(key)).open(hold, now)

    def ended(self, job: Job, now: Instant) -> None:
        """A job has ended, and has been charged what it says."""
        charged = job.wei + job.fee if job.wei else 0
        meters = self.meters
        meters[job.client].close(job.hold, charged, now)
        if job.api_key:
            meters[job.api_key].close(job.hold, charged, now)
        self.usage.count(job, charged, now)

    def _meter(self, name: str) -> Meter:
        meter = self.meters[name] = Meter()
        return meter

    # What becomes a fact

    def require(self, fact: AccountFact, now: Instant) -> None:
        """Raise why this cannot be a fact."""
        match fact:
            case TenantMade():
                self._require_room("tenants", len(self.tenants), self._rules.tenants_max)
                if any(fact.name in (tenant.name, tenant.id) for tenant in self.tenants.values()):
                    raise Conflict(f"there is a tenant {fact.name} already")
            case TenantChanged():
                if self.tenant_named(fact.tenant).configured:
                    raise Refused(f"{fact.tenant} stands in the settings: change it there")
            case KeyMade():
                self._require_key(fact, now)
            case KeyRevoked():
                if self.key_named(fact.key).configured:
                    raise Refused(f"{fact.key} stands in the settings: take it out there, and restart")

    def _require_key(self, fact: KeyMade, now: Instant) -> None:
        self.tenant_named(fact.tenant)
        self._require_room("keys", len(self.keys), self._rules.api_keys_max)
        if fact.hash in self._by_hash or fact.key in self.keys:
            raise Conflict(f"there is a key {fact.key} already")
        if fact.maker:  # it may have been revoked while its wish was on its way
            self.key_named(fact.maker).require_good(now)

    def _require_room(self, what: str, known: int, most: int) -> None:
        if known >= most:
            raise Busy(f"{most} {what} are known here, and no more can be")

    def learn(self, fact: AccountFact, now: Instant) -> None:
        """It is a fact."""
        match fact:
            case TenantMade(tenant, name, weight, priority_max, limits):
                self._put_tenant(Tenant(tenant, name, weight, priority_max, read(limits)))
            case TenantChanged(tenant, weight, priority_max, limits):
                name = self.tenants[tenant].name
                self._put_tenant(Tenant(tenant, name, weight, priority_max, read(limits)))
            case KeyMade():
                self._put_key(_key(fact, now))
                self.closed = True
            case KeyRevoked():
                key = self.keys[fact.key]
                if not key.revoked_at:
                    self._put_key(replace(key, revoked_at=now))

    def _put_tenant(self, tenant: Tenant) -> None:
        self.tenants[tenant.id] = tenant
        (self.meters.get(tenant.id) or self._meter(tenant.id)).limit(tenant.limits)

    def _put_key(self, key: Key) -> None:
        self.keys[key.id] = self._by_hash[key.hash] = key
        (self.meters.get(key.id) or self._meter(key.id)).limit(key.limits)

    # Snapshots

    def dump(self) -> State:
        """All that does not stand in the settings, and all that was used."""
        tenants = tuple(
            TenantMade(t.id, t.name, t.weight, t.priority_max, t.limits.written())
            for t in self.tenants.values()
            if not t.configured
        )
        keys = tuple(
            KeyLine(_made(key), key.made_at, key.revoked_at)
            for key in self.keys.values()
            if not key.configured
        )
        meters = tuple(meter.dump(name) for name, meter in self.meters.items())
        return State(tenants, keys, meters, self.usage.dump())

    def load(self, state: State | None, ledger: Ledger, jobs: Mapping[JobId, Job]) -> None:
        """Take a snapshot's state, None if it was written before anybody counted; holds follow from the open jobs."""
        if state is None:
            state = State()
            for account, wei in ledger.balances.items():
                kind, _, client = account.partition(":")
                if kind == "client" and wei:
                    self.usage.note(ClientId(client), -wei)
                    self._meter_of(client).total = -wei
        else:
            self.usage.load(state.usage)
        for made in state.tenants:
            self.learn(made, Instant(0))
        for line in state.keys:
            key = _key(line.made, line.made_at)
            self._put_key(replace(key, revoked_at=line.revoked_at))
            self.closed = True
        for reading in state.meters:
            self._meter_of(reading.name).load(reading)
        for name in ledger.holds:
            job = jobs[JobId(name)]
            for who in (job.client, job.api_key) if job.api_key else (job.client,):
                self._meter_of(who).held += job.hold

    def _meter_of(self, name: str) -> Meter:
        return self.meters.get(name) or self._meter(name)

    def check(self, ledger: Ledger) -> None:
        """Raise `Broken` unless rows, meters and the ledger tell of the same money."""
        charged = {
            account.partition(":")[2]: -wei
            for account, wei in ledger.balances.items()
            if account.startswith("client:") and wei
        }
        held: dict[str, int] = {}
        for hold in ledger.holds.values():
            client = hold.account.partition(":")[2]
            held[client] = held.get(client, 0) + hold.wei
        if {client: wei for client, wei in self.usage.charged().items() if wei} != charged:
            raise Broken("the rows of usage and the ledger tell of different money")
        for name, meter in self.meters.items():
            meter.check(name)
            if name not in self.keys and (meter.held, meter.total) != (
                held.get(name, 0),
                charged.get(name, 0),
            ):
                raise Broken(f"the meter of {name} and the ledger tell of different money")


def client_id(hash_: bytes) -> ClientId:
    """Who comes with a key that stands in the settings, or with any at all where none is needed."""
    return ClientId("client_" + hash_.hex()[:CLIENT_ID_DIGITS])


def _key(fact: KeyMade, now: Instant) -> Key:
    return Key(
        fact.key,
        fact.tenant,
        fact.hash,
        fact.name,
        frozenset(fact.may),
        frozenset(fact.pipelines),
        frozenset(fact.models),
        read(fact.limits),
        now,
        fact.expires_at,
        Instant(0),
        fact.maker,
    )


def _made(key: Key) -> KeyMade:
    return KeyMade(
        key.id,
        key.tenant,
        key.hash,
        key.name,
        tuple(sorted(key.may)),
        tuple(sorted(key.pipelines)),
        tuple(sorted(key.models)),
        key.limits.written(),
        key.expires_at,
        key.maker,
    )
