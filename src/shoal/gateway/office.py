"""Where accounts are kept for people: tenants and keys are made and changed here, and statements written.

Behind two doors: the operator's own, and that of tenants, who see and change no more than what is theirs. A key's
text leaves this room once, with the answer that made it.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from shoal.errors import NotFound, NotGranted, Refused
from shoal.gateway.accounts import (
    USUAL,
    Accounts,
    Key,
    KeyMade,
    KeyRevoked,
    Permission,
    Tenant,
    TenantChanged,
    TenantMade,
)
from shoal.gateway.desk import Desk
from shoal.gateway.limits import DAY_MS, UNLIMITED, Limits
from shoal.gateway.requests import Json
from shoal.gateway.secret import hashed, key_id, secret
from shoal.gateway.settlement import account
from shoal.gateway.usage import BY, Entry, statement
from shoal.ids import ClientId, KeyId
from shoal.runtime.chance import new_secret, new_tenant_id
from shoal.runtime.door import Request
from shoal.units import Instant, later
from shoal.wire.pipelines import PIPELINES, pipeline

EPOCH = date(1970, 1, 1)
NAMES_MAX = 100
EXPIRES_MS_MAX = 100 * 366 * DAY_MS
BODY_BYTES_MAX = 64 * 1024
#: A name that can be typed, and cannot be taken for an id.
_NAME = re.compile(r"(?!client_|tenant_|key_)[A-Za-z0-9][A-Za-z0-9 @._+-]{0,63}")

Name = Annotated[str, Meta(max_length=64)]
Priority = Literal["high", "normal", "low"]
Some = dict[str, int | None]


class TenantRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant to be made."""

    name: str
    weight: Annotated[int, Meta(ge=1, le=1_000)] = 1
    priority_max: Priority = "normal"
    limits: Limits = UNLIMITED


class TenantChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant is granted otherwise; what is not said stays. A limit of null is none."""

    weight: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    priority_max: Priority | None = None
    limits: Some = {}


class KeyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. No pipelines or models mean all; a key of a key never goes further than that one."""

    tenant: str = ""
    name: Name = ""
    may: Annotated[tuple[Permission, ...], Meta(min_length=1, max_length=len(USUAL) + 1)] = USUAL
    pipelines: Annotated[tuple[str, ...], Meta(max_length=NAMES_MAX)] = ()
    models: Annotated[tuple[Annotated[str, Meta(max_length=255)], ...], Meta(max_length=NAMES_MAX)] = ()
    limits: Limits = UNLIMITED
    expires_in_ms: Annotated[int, Meta(ge=1, le=EXPIRES_MS_MAX)] | None = None


tenant_requests = Json(TenantRequest, '{"name": "studio", "limits": {"jobs_per_minute": 60}}')
tenant_changes = Json(TenantChange, '{"limits": {"jobs_per_minute": 60, "wei_per_day": null}}')
key_requests = Json(KeyRequest, '{"name": "website", "may": ["submit", "read"], "pipelines": ["llm"]}')


class Office:
    """Makes, changes and tells."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def accounts(self) -> Accounts:
        """All of them."""
        return self._desk.machine.accounts

    # Tenants

    async def make_tenant(self, wanted: TenantRequest) -> dict[str, Any]:
        """A tenant that there was not."""
        if not _NAME.fullmatch(wanted.name):
            raise Refused(
                "a tenant's name has 1 to 64 letters, digits, spaces and @._+-, begins with a letter or a digit, "
                f"and not as an id does; {wanted.name[:100]!r} does not do"
            )
        made = TenantMade(
            new_tenant_id(), wanted.name, wanted.weight, wanted.priority_max, wanted.limits.written()
        )
        await self._desk.settle(made)
        return self.tenant_value(self.accounts.tenants[made.tenant])

    async def change_tenant(self, name: str, wanted: TenantChange) -> dict[str, Any]:
        """What it is granted from now on."""
        tenant = self.accounts.tenant_named(name)
        merged = {**msgspec.to_builtins(tenant.limits), **wanted.limits}
        try:
            limits = msgspec.convert(merged, Limits)
        except msgspec.ValidationError as error:
            raise Refused(f"the limits are not valid: {error}") from error
        weight = wanted.weight or tenant.weight
        priority_max = wanted.priority_max or tenant.priority_max
        await self._desk.settle(TenantChanged(tenant.id, weight, priority_max, limits.written()))
        return self.tenant_value(self.accounts.tenants[tenant.id])

    def tenants_value(self) -> dict[str, Any]:
        """Everybody who is known."""
        return {"tenants": [self.tenant_value(tenant) for tenant in self.accounts.tenants.values()]}

    def tenant_value(self, tenant: Tenant) -> dict[str, Any]:
        """A tenant for people."""
        keys = [key for key in self.accounts.keys.values() if key.tenant == tenant.id]
        return {
            "id": tenant.id,
            "name": tenant.name,
            "weight": tenant.weight,
            "priority_max": tenant.priority_max,
            "limits": msgspec.to_builtins(tenant.limits),
            "keys": sum(not key.revoked_at for key in keys),
            "charged_wei": self.accounts.meters[tenant.id].total,
            "held_wei": self.accounts.meters[tenant.id].held,
            "in_settings": tenant.configured,
        }

    # Keys

    async def make_key(self, wanted: KeyRequest, tenant: Tenant, maker: Key | None = None) -> dict[str, Any]:
        """A key that there was not, with its text; nobody is ever told that again."""
        for name in wanted.pipelines:
            pipeline(name)
        now = self._desk.now()
        expires_at = later(now, wanted.expires_in_ms) if wanted.expires_in_ms else Instant(0)
        if maker is not None:
            wanted, expires_at = _no_further(wanted, expires_at, maker)
        text = secret(new_secret())
        hash_ = hashed(text.encode())
        made = KeyMade(
            key_id(hash_),
            tenant.id,
            hash_,
            wanted.name,
            tuple(dict.fromkeys(wanted.may)),
            wanted.pipelines,
            wanted.models,
            wanted.limits.written(),
            expires_at,
            KeyId("") if maker is None else maker.id,
        )
        await self._desk.settle(made)
        return {**self.key_value(self.accounts.keys[made.key]), "key": text}

    async def revoke_key(self, name: str, tenant: ClientId = ClientId("")) -> dict[str, Any]:  # noqa: B008
        """From now on it is good for nothing; said twice it is as good. Only a key of this tenant, if one is named."""
        key = self.accounts.key_named(name)
        if tenant and key.tenant != tenant:
            raise NotFound(f"there is no key {name[:100]!r}")
        if not key.revoked_at:
            await self._desk.settle(KeyRevoked(key.id))
        return self.key_value(self.accounts.keys[key.id])

    def keys_value(self, tenant: str = "") -> dict[str, Any]:
        """All keys, or one tenant's, the newest first."""
        of = self.accounts.tenant_named(tenant).id if tenant else ""
        keys = [key for key in self.accounts.keys.values() if not of or key.tenant == of]
        return {"keys": [self.key_value(key) for key in reversed(keys)]}

    def key_value(self, key: Key) -> dict[str, Any]:
        """A key for people: all but itself, which nobody has."""
        tenant = self.accounts.tenants.get(key.tenant)
        return {
            "id": key.id,
            "name": key.name,
            "tenant": key.tenant,
            "tenant_name": "" if tenant is None else tenant.name,
            "state": _state(key, tenant, self._desk.now()),
            "may": [name for name in (*USUAL, "admin") if name in key.may],
            "pipelines": sorted(key.pipelines),
            "models": sorted(key.models),
            "limits": msgspec.to_builtins(key.limits),
            "charged_wei": self.accounts.meters[key.id].total,
            "held_wei": self.accounts.meters[key.id].held,
            "made_at_ms": key.made_at,
            "expires_at_ms": key.expires_at,
            "revoked_at_ms": key.revoked_at,
            "made_by": key.maker,
            "in_settings": key.configured,
        }

    # Usage

    def usage_value(self, request: Request, tenant: str = "") -> dict[str, Any]:
        """A statement, of one tenant or of all: `?from=2026-01-01&to=2026-01-31&by=key,pipeline,model,day`."""
        machine = self._desk.machine
        today = self._desk.now() // DAY_MS
        days = range(_day(request, "from", 0), _day(request, "to", today) + 1)
        by = _by(request.query("by"), "tenant" if not tenant else "")
        open_jobs = [machine.jobs[name] for name in machine.open_jobs()]
        found = statement(machine.accounts.usage, open_jobs, today, by=by, tenant=tenant, days=days)
        ledger = machine.ledger
        clients = (
            [account(ClientId(tenant))] if tenant else [a for a in ledger.balances if a.startswith("client:")]
        )
        charged = -sum(ledger.balances.get(client, 0) for client in clients)
        held = sum(hold.wei for hold in ledger.holds.values() if not tenant or hold.account == clients[0])
        told = found.before_wei + found.total.charged_wei + found.after_wei
        return {
            "tenant": tenant or None,
            "from": _date(days.start) if days.start else None,
            "to": _date(days.stop - 1),
            "by": list(by),
            "entries": [self._entry_value(entry, by) for entry in found.entries],
            "total": _sums(found.total),
            "before_wei": found.before_wei,
            "after_wei": found.after_wei,
            "ledger": {"charged_wei": charged, "held_wei": held},
            "adds_up": (told, found.total.held_wei) == (charged, held),
        }

    def _entry_value(self, entry: Entry, by: tuple[str, ...]) -> dict[str, Any]:
        value: dict[str, Any] = {name: getattr(entry, name) for name in by}
        if "day" in by:
            value["day"] = _date(entry.day) if entry.day else None
        if "tenant" in by:
            known = self.accounts.tenants.get(ClientId(entry.tenant))
            value["tenant_name"] = "" if known is None else known.name
        if "key" in by:
            key = self.accounts.keys.get(KeyId(entry.key))
            value["key_name"] = "" if key is None else key.name
        if "pipeline" in by and entry.pipeline in PIPELINES:
            value |= {"units": entry.units, "unit": PIPELINES[entry.pipeline].unit}
        return value | _sums(entry)


def _sums(entry: Entry) -> dict[str, int]:
    names = ("done", "failed", "cancelled", "open", "charged_wei", "held_wei")
    return {name: getattr(entry, name) for name in names}


def _state(key: Key, tenant: Tenant | None, now: Instant) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at and now >= key.expires_at:
        return "expired"
    return "good" if tenant is not None else "without a tenant"


def _no_further(wanted: KeyRequest, expires_at: Instant, maker: Key) -> tuple[KeyRequest, Instant]:
    """What a key may make: one that may no more than itself, for no longer. Raises `NotGranted`."""
    for what, asked, granted in (
        ("may", wanted.may, maker.may),
        ("pipelines", wanted.pipelines, maker.pipelines),
        ("models", wanted.models, maker.models),
    ):
        beyond = set(asked) - granted if granted else set()
        if beyond:
            raise NotGranted(
                f"{maker.id} cannot grant {what} {', '.join(sorted(beyond))}: it has no such right"
            )
    if maker.expires_at:
        expires_at = min(expires_at or maker.expires_at, maker.expires_at)
    return msgspec.structs.replace(
        wanted,
        pipelines=wanted.pipelines or tuple(sorted(maker.pipelines)),
        models=wanted.models or tuple(sorted(maker.models)),
        limits=wanted.limits.within(maker.limits),
    ), expires_at


def _by(text: str, first: str) -> tuple[str, ...]:
    """What entries are told apart by; all of it unless something is said."""
    names = [name for name in BY if name != "tenant" or first]
    if not text:
        return tuple(names)
    asked = text.split(",")
    if not set(asked) <= set(names):
        raise Refused(f"by is some of {','.join(names)}, not {text[:100]!r}")
    return tuple(name for name in names if name in asked)


def _day(request: Request, name: str, otherwise: int) -> int:
    text = request.query(name)
    if not text:
        return otherwise
    try:
        return (date.fromisoformat(text) - EPOCH).days
    except ValueError as error:
        raise Refused(f"{name} is a day, as 2026-01-31, not {text[:50]!r}") from error


def _date(day: int) -> str:
    try:
        return (EPOCH + timedelta(days=day)).isoformat()
    except OverflowError:
        return ""
