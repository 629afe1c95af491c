"""How a client wants its job served: said by headers on every route, or by fields of `/v1/jobs`; a header counts more.

What cannot be had is refused, never left out quietly. What a client may call a
session is hashed with its own name, so that no two clients ever share one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from shoal.errors import Refused
from shoal.gateway.clients import Grant
from shoal.gateway.form import Form
from shoal.ids import ClientId, NodeId, digest
from shoal.units import SECOND_MS
from shoal.wire.words import JobSpec
from shoal.work.lifecycle import Preference
from shoal.work.queue import PRIORITIES

NAME_CHARACTERS_MAX = 64
SESSION_CHARACTERS_MAX = 255
SESSION_DIGITS = 32
MILLISECONDS_MAX = 2**53

#: Where something of the last job can be used for the next one; elsewhere a session says nothing.
SESSIONS = frozenset(("llm", "echo"))

#: RFC 7240: `Prefer: respond-async, wait=10`.
_WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)

Name = Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX)]


class Wants(Struct, frozen=True, kw_only=True):
    """What may be said about a job beside what it is."""

    deadline_ms: int = 0
    policy: Name = ""
    priority: str = ""
    region: Name = ""
    hedge: bool = False
    session: Annotated[str, Meta(max_length=SESSION_CHARACTERS_MAX)] = ""
    nodes: int = 1
    gang: int | bool = 1


def number(text: str, name: str, most: int) -> int:
    """A whole number that a client wrote, 0 for none."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > most:
        raise Refused(f"{name} is a whole number from 0 to {most}, not {text[:50]!r}")
    return int(text)


def _text(most: int) -> Callable[[str, str], str]:
    def read(text: str, name: str) -> str:
        if len(text) > most:
            raise Refused(f"{name} has at most {most} characters")
        return text

    return read


def _milliseconds(text: str, name: str) -> int:
    return number(text, name, MILLISECONDS_MAX)


def _yes_or_no(text: str, name: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise Refused(f"{name} is true or false, not {text[:50]!r}")
    return text.lower() == "true"


#: What a header says, and how it is read.
_HEADERS: tuple[tuple[str, str, Callable[[str, str], Any]], ...] = (
    ("Shoal-Deadline-Ms", "deadline_ms", _milliseconds),
    ("Shoal-Policy", "policy", _text(NAME_CHARACTERS_MAX)),
    ("Shoal-Priority", "priority", _text(NAME_CHARACTERS_MAX)),
    ("Shoal-Region", "region", _text(NAME_CHARACTERS_MAX)),
    ("Shoal-Hedge", "hedge", _yes_or_no),
    ("Shoal-Session", "session", _text(SESSION_CHARACTERS_MAX)),
)
_READ_AS = {name.lower().encode(): (name, field, read) for name, field, read in _HEADERS}
NOTHING = Wants()


def said(headers: Mapping[bytes, bytes], fields: Wants = NOTHING) -> Wants:
    """What a request wants by its headers, and else by its fields."""
    wants = fields if _READ_AS.keys().isdisjoint(headers) else replace(fields, **_given(headers))
    if wants.deadline_ms < 0:
        raise Refused("a deadline lies ahead: deadline_ms is at least 1")
    if wants.priority not in PRIORITIES and wants.priority:
        raise Refused(f"priority is one of {', '.join(PRIORITIES)}, not {wants.priority[:50]!r}")
    if max(wants.nodes, wants.gang) > 1:
        raise Refused(
            "a job runs on one node here: a gang of nodes is not taken; "
            "send as many jobs of one node each, or name a model that one node holds"
        )
    return wants


def _given(headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    return {
        field: read(headers[key].decode("latin-1").strip(), name)
        for key, (name, field, read) in _READ_AS.items()
        if key in headers
    }


def in_form(form: Form) -> Wants:
    """What the fields of a form want."""
    fields = {name: form.fields[name] for name in Wants.__struct_fields__ if form.fields.get(name)}
    try:
        return msgspec.convert(fields, Wants, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"the form is not valid: {error}") from error


def wait_ms(headers: Mapping[bytes, bytes]) -> int:
    """How long the client waits for an answer, if it says so by `Prefer: wait=SECONDS`; else 0."""
    text = headers.get(b"prefer")
    found = _WAIT.search(text.decode("latin-1")) if text is not None else None
    return int(found[1]) * SECOND_MS if found is not None else 0


def preference(wants: Wants, grant: Grant) -> Preference:
    """The same for the machine, with what this client is granted. Raises `NotGranted`."""
    priority = wants.priority or "normal"
    grant.require(priority)
    return Preference(wants.policy, priority, grant.weight, wants.region, wants.hedge)


def in_session(spec: JobSpec, gateway: NodeId, client: ClientId, session: str) -> JobSpec:
    """A job as part of its client's session, whose name means nothing to anybody else."""
    if not session or spec.pipeline not in SESSIONS:
        return spec
    whole = f"{gateway} {client} {spec.pipeline} {spec.model} {session}"
    return replace(spec, session=digest(whole.encode())[:SESSION_DIGITS])
