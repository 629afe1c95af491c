"""What is asked of a network under load: each pipeline's share, its parameters, and the bytes of its requests.

A request is written anew for each arrival, for its tenant, its deadline and its work differ; whatever does not
is written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from shoal.cli.buyer import File, form, read_file
from shoal.errors import Refused
from shoal.machine import Value
from shoal.sim.load.trace import Arrival, Fleet, Trace
from shoal.wire.pipelines import PIPELINES, Pipeline, pipeline
from shoal.work.queue import Need

#: The pipeline whose runner takes as long as it is told: it stands for any other, see `echoed`.
SLEEPER = "echo"
JSON = "application/json"


class Part(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pipeline of a mix, as its file has it."""

    pipeline: str
    #: How often it is asked, beside the others.
    weight: float = 1.0
    #: What it is asked; nothing: its example.
    params: Raw = Raw(b"")
    #: A file that goes with it, where one is needed.
    file: str = ""
    #: 0: the pipeline's own.
    deadline_ms: int = 0
    #: Milliseconds that an echo takes; what others take is theirs to know.
    work_ms: int = 0

    @property
    def row(self) -> Pipeline:
        """Its row of the table. Raises `NotFound`."""
        return pipeline(self.pipeline)

    @property
    def model(self) -> str:
        """The model that its parameters name, else the pipeline's first."""
        return str(self.fields().get(self.row.model_field) or self.row.default_model)

    def fields(self) -> dict[str, object]:
        """Its parameters. Raises `Refused` if they are no JSON object."""
        text = bytes(self.params) or self.row.example.encode()
        try:
            return msgspec.json.decode(text, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise Refused(f"the parameters of {self.pipeline} are no JSON object: {error}") from error


def read_mix(path: Path) -> tuple[Part, ...]:
    """The parts that a file of JSON lists. Raises `Refused` and says what one looks like."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Part, ...])
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Refused(
            f'{path} is no mix: {error}; one is: [{{"pipeline": "echo", "weight": 3, "work_ms": 200}}, '
            '{"pipeline": "llm"}]'
        ) from error


def echoed(trace: Trace) -> Trace:
    """The same work as something that echoes sleep through: a model's name says what it stands for."""

    def name(need: Need) -> str:
        return ":".join(need)

    operators = tuple(
        replace(
            operator,
            wares=tuple(
                replace(ware, pipeline=SLEEPER, model=name(ware.need), wei=None) for ware in operator.wares
            ),
        )
        for operator in trace.fleet.orchestrators
    )
    arrivals = tuple(
        replace(arrival, pipeline=SLEEPER, model=name(arrival.need), units=1) for arrival in trace.arrivals
    )
    return replace(trace, fleet=Fleet(orchestrators=operators), arrivals=arrivals)


class Writer:
    """Writes requests: `head` and `body` of an arrival's `POST /v1/jobs`."""

    def __init__(
        self,
        parts: Sequence[Part] = (),
        *,
        run: str,
        keys: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """With `keys`, each tenant has one of them; else each has a token that holds the name of the run."""
        self._parts = {(part.pipeline, part.model): part for part in reversed(parts)}
        self._files = {part.file: read_file(Path(part.file), _field(part)) for part in parts if part.file}
        self._run = run
        self._keys = keys
        self._tokens: dict[str, str] = {}
        self._bodies: dict[Need, tuple[str, bytes]] = {}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items() if value)
        for part in parts:
            if part.row.media and not part.row.media[0].optional and not part.file:
                raise Refused(f"{part.pipeline} takes a file; name one with --file, or in the mix")

    @property
    def own_tenants(self) -> bool:
        """True if nobody but this run asks under its tenants' names."""
        return not self._keys

    def token(self, tenant: str) -> str:
        """What a tenant shows at the door."""
        if tenant not in self._tokens:
            number = len(self._tokens)
            made = f"{self._run}-{tenant}"
            self._tokens[tenant] = self._keys[number % len(self._keys)] if self._keys else made
        return self._tokens[tenant]

    def authorization(self, tenant: str) -> str:
        """A tenant's line of head."""
        return f"Authorization: Bearer {self.token(tenant)}\r\n"

    def head(self, arrival: Arrival) -> str:
        """The lines of head that an arrival has besides those of its body."""
        lines = f"{self.authorization(arrival.tenant)}{self._headers}"
        lines += f"Shoal-Deadline-Ms: {arrival.deadline_ms}\r\n"
        if arrival.priority != "normal":
            lines += f"Shoal-Priority: {arrival.priority}\r\n"
        if arrival.session:
            lines += f"Shoal-Session: {arrival.session}\r\n"
        return lines

    def body(self, arrival: Arrival) -> tuple[str, bytes]:
        """Its content type and its bytes."""
        if arrival.pipeline == SLEEPER:
            return self._write(arrival, {"sleep_ms": arrival.work_ms} if arrival.work_ms else {})
        if arrival.need not in self._bodies:
            self._bodies[arrival.need] = self._write(arrival, {})
        return self._bodies[arrival.need]

    def _write(self, arrival: Arrival, more: Mapping[str, object]) -> tuple[str, bytes]:
        part = self._part(arrival)
        params = {**part.fields(), part.row.model_field: arrival.model, **more}
        file = self._files.get(part.file)
        if file is None:
            return JSON, msgspec.json.encode({"pipeline": arrival.pipeline, "params": params})
        return _form(arrival.pipeline, params, file)

    def _part(self, arrival: Arrival) -> Part:
        part = self._parts.get(arrival.need)
        if part is None:
            row = PIPELINES.get(arrival.pipeline)
            if row is None or row.media:
                raise Refused(f"nobody said what {arrival.pipeline} is to be asked: name it in a mix")
            part = self._parts[arrival.need] = Part(pipeline=arrival.pipeline)
        return part


def _field(part: Part) -> str:
    if not part.row.media:
        raise Refused(f"{part.pipeline} takes no file")
    return part.row.media[0].field


def _form(name: str, params: dict[str, object], file: File) -> tuple[str, bytes]:
    return form({"pipeline": name, "params": msgspec.json.encode(params).decode()}, file)
