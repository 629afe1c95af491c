"""The gateway's doors: Livepeer's API by the table of pipelines, OpenAI's, and our own of jobs.

A request that is turned away leaves no trace. A client that leaves takes its
job with it, unless it left an idempotency key by which it can come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Raw, Struct

from shoal.errors import NotFound, Refused, ShoalError
from shoal.gateway import openai, streams, wants
from shoal.gateway.accounts import READ, SUBMIT, Permission
from shoal.gateway.answers import (
    Locate,
    answer_reply,
    data_url,
    file_reply,
    file_url,
    job_headers,
    job_value,
    llm_answer,
    models_value,
    network_value,
    receipt_value,
    result_value,
)
from shoal.gateway.clients import Clients, Visitor
from shoal.gateway.desk import Desk, Watch
from shoal.gateway.events import Submitted
from shoal.gateway.form import Form, read_form
from shoal.gateway.requests import (
    BODY_BYTES_MAX,
    FORM_BYTES,
    GLANCE_BYTES_MAX,
    READERS,
    Ask,
    Json,
    ask,
    read_fields,
    read_files,
)
from shoal.gateway.tenants import TenantDoors
from shoal.gateway.wants import Wants, number
from shoal.gateway.why import policies_value, why_value
from shoal.ids import ClientId, JobId, NodeId
from shoal.money.wei import Price
from shoal.runtime.chance import new_job_id
from shoal.runtime.door import Door, Feed, Handler, Presence, Reply, Request, encode, error_reply
from shoal.units import SECOND_MS
from shoal.wire.pipelines import PIPELINES, Pipeline, pipeline
from shoal.wire.words import JobSpec, Payload
from shoal.work.lifecycle import ENDED, Job

LIST_JOBS = 50
LIST_JOBS_MAX = 1_000
KEY_CHARACTERS_MAX = 255
WAIT_MS_MAX = 600 * SECOND_MS
FORM = "multipart/form-data"


class Begun(Struct, frozen=True):
    """A job that its client waits for."""

    job: JobId
    client: ClientId
    spec: JobSpec
    watch: Watch
    presence: Presence
    #: True if the client can come back for it.
    keyed: bool


class JobRequest(Wants, frozen=True, kw_only=True):
    """What `/v1/jobs` takes as JSON."""

    pipeline: str
    params: Raw = Raw(b"{}")


_job_requests = Json(
    JobRequest, '{"pipeline": "llm", "params": {"messages": [{"role": "user", "content": "hi"}]}}'
)


class Doors:
    """Every route of a gateway."""

    def __init__(self, desk: Desk, clients: Clients, gateway: NodeId) -> None:
        self._desk = desk
        self._clients = clients
        self._gateway = gateway

    def door(self) -> Door:
        """Where each request finds its handler."""
        routes: dict[str, Handler] = {f"POST /{row.name}": self._run(row) for row in PIPELINES.values()}
        routes |= {
            "POST /v1/chat/completions": self.chat,
            "POST /v1/embeddings": self._run(PIPELINES["embeddings"]),
            "POST /v1/images/generations": self.images,
            "POST /v1/images/edits": self.edits,
            "POST /v1/audio/speech": self.speech,
            "POST /v1/audio/transcriptions": self.transcription,
            "GET /v1/models": self.models,
            "POST /v1/jobs": self.submit,
            "GET /v1/jobs": self.jobs,
            "GET /v1/jobs/*": self.job,
            "DELETE /v1/jobs/*": self.cancel,
            "POST /v1/jobs/*/cancel": self.cancel,
            "DELETE /v1/jobs/*/cancel": self.cancel,
            "GET /v1/jobs/*/events": self.events,
            "GET /v1/jobs/*/result": self.result,
            "GET /v1/jobs/*/receipt": self.receipt,
            "GET /v1/jobs/*/why": self.why,
            "GET /media/*": self.media,
            "GET /v1/policies": self.policies,
            "GET /v1/network": self.network,
            "GET /health": self.health,
        }
        return Door(routes | TenantDoors(self._desk, self._clients).routes())

    # One pipeline, asked as Livepeer's API has it

    def _run(self, row: Pipeline) -> Handler:
        kind = row.answers.partition("/")[0]

        async def run(request: Request) -> Reply | Feed:
            visitor = self._clients.identify(request, SUBMIT)
            begun = await self._begin(request, visitor, await self._read(row, request))
            if begun.spec.stream:
                return await self._stream(begun, streams.LIVEPEER)
            job = await self._finish(begun)
            if kind and request.header(b"accept").startswith(f"{kind}/"):
                return self._write(job, lambda answer: file_reply(job, answer))
            return self._write(job, lambda answer: answer_reply(job, answer, _locate(request)))

        return run

    async def _read(self, row: Pipeline, request: Request) -> Ask:
        body = await request.body(BODY_BYTES_MAX[row.name])
        if row.media:
            return await self._ask_form(row, await self._form(request, body))
        return ask(row, READERS[row.name].read(body))

    async def _form(self, request: Request, body: bytes) -> Form:
        content_type = request.header(b"content-type")
        if len(body) <= GLANCE_BYTES_MAX:
            return read_form(content_type, body)
        return await asyncio.to_thread(read_form, content_type, body)

    async def _ask_form(self, row: Pipeline, form: Form) -> Ask:
        fields = read_fields(row, form.fields)
        media, measures = await read_files(row, form)
        return ask(row, fields, media, measures)

    # OpenAI

    async def chat(self, request: Request) -> Reply | Feed:
        """`POST /v1/chat/completions`."""
        visitor = self._clients.identify(request, SUBMIT)
        row = PIPELINES["llm"]
        wanted = openai.read_chat(await request.body(BODY_BYTES_MAX[row.name]))
        begun = await self._begin(request, visitor, ask(row, wanted.request))
        if begun.spec.stream:
            return await self._stream(begun, streams.OPENAI, wanted.include_usage)
        job = await self._finish(begun)
        return self._write(
            job,
            lambda answer: Reply(encode(openai.chat_value(llm_answer(answer))), headers=job_headers(job.id)),
        )

    async def speech(self, request: Request) -> Reply | Feed:
        """`POST /v1/audio/speech`."""
        visitor = self._clients.identify(request, SUBMIT)
        row = PIPELINES["text-to-speech"]
        asked = ask(row, openai.read_speech(await request.body(BODY_BYTES_MAX[row.name])))
        job = await self._finish(await self._begin(request, visitor, asked))
        return self._write(job, lambda answer: file_reply(job, answer))

    async def transcription(self, request: Request) -> Reply | Feed:
        """`POST /v1/audio/transcriptions`."""
        visitor = self._clients.identify(request, SUBMIT)
        row = PIPELINES["audio-to-text"]
        body = await request.body(BODY_BYTES_MAX[row.name])
        form, write = openai.read_transcription(await self._form(request, body))
        begun = await self._begin(request, visitor, await self._ask_form(row, form))
        del body, form  # the sound is on disk now, and the answer may take long
        job = await self._finish(begun)

        def reply(answer: Payload) -> Reply:
            content_type, text = write(answer.params)
            return Reply(text, content_type=content_type, headers=job_headers(job.id))

        return self._write(job, reply)

    async def images(self, request: Request) -> Reply | Feed:
        """`POST /v1/images/generations`."""
        visitor = self._clients.identify(request, SUBMIT)
        row = PIPELINES["text-to-image"]
        wanted, inside = openai.read_images(await request.body(BODY_BYTES_MAX[row.name]))
        return await self._pictures(request, visitor, ask(row, wanted), inside)

    async def edits(self, request: Request) -> Reply | Feed:
        """`POST /v1/images/edits`."""
        visitor = self._clients.identify(request, SUBMIT)
        row = PIPELINES["image-to-image"]
        body = await request.body(BODY_BYTES_MAX[row.name])
        form, inside = openai.read_edit(await self._form(request, body))
        return await self._pictures(request, visitor, await self._ask_form(row, form), inside)

    async def _pictures(self, request: Request, visitor: Visitor, asked: Ask, inside: bool) -> Reply:
        job = await self._finish(await self._begin(request, visitor, asked))
        locate = partial(data_url, "") if inside else _locate(request)

        def reply(answer: Payload) -> Reply:
            value = openai.images_value(
                job.accepted_at // SECOND_MS, result_value(job, answer, locate), inside=inside
            )
            return Reply(encode(value), headers=job_headers(job.id))

        return self._write(job, reply)

    async def models(self, request: Request) -> Reply | Feed:
        """`GET /v1/models`."""
        self._clients.identify(request)
        return Reply(encode(models_value(self._desk.machine)))

    # Our own

    async def submit(self, request: Request) -> Reply | Feed:
        """`POST /v1/jobs`: the job as it stands, at once or after `?wait_ms=` (or `Prefer: wait=`)."""
        visitor = self._clients.identify(request, SUBMIT)
        wait_ms = number(request.query("wait_ms"), "wait_ms", WAIT_MS_MAX)
        wait_ms = wait_ms or min(wants.wait_ms(request.headers), WAIT_MS_MAX)
        asked, fields = await self._read_job(request)
        order = self._order(request, visitor, asked, fields)
        watch = self._desk.watch(order.job)
        try:
            job_id = await self._desk.submit(order)
            if job_id != order.job:
                self._desk.unwatch(watch)
                watch = self._desk.watch(job_id)
            if wait_ms:
                await asyncio.create_task(watch.over(wait_ms))
        finally:
            self._desk.unwatch(watch)
        job = await self._desk.own(visitor.client, job_id)
        value = job_value(self._desk.machine, job)
        if not wait_ms or job.phase not in ENDED:
            return Reply(encode(value), 202, headers=job_headers(job_id))
        return self._write(
            job,
            lambda answer: Reply(
                encode({**value, "result": result_value(job, answer, _locate(request))}),
                headers=job_headers(job.id),
            ),
        )

    async def _read_job(self, request: Request) -> tuple[Ask, Wants]:
        body = await request.body(max(BODY_BYTES_MAX.values()) + FORM_BYTES)
        if not request.header(b"content-type").startswith(FORM):
            wanted = _job_requests.read(body)
            row = pipeline(wanted.pipeline)
            return ask(row, READERS[row.name].read(bytes(wanted.params))), wanted
        form = await self._form(request, body)
        row = pipeline(form.fields.get("pipeline", ""))
        params = READERS[row.name].read(form.fields.get("params", "{}").encode())
        fields = wants.in_form(form)
        media, measures = await read_files(row, form)
        return ask(row, params, media, measures), fields

    async def jobs(self, request: Request) -> Reply | Feed:
        """`GET /v1/jobs`: the client's own, the newest first."""
        client = self._clients.identify(request, READ).client
        limit = number(request.query("limit"), "limit", LIST_JOBS_MAX) or LIST_JOBS
        machine = self._desk.machine
        own = []
        for job in reversed(machine.jobs.values()):
            if job.client == client:
                own.append(job)
                if len(own) == limit:
                    break
        await self._desk.durable()
        return Reply(encode({"jobs": [job_value(machine, job) for job in own]}))

    async def job(self, request: Request) -> Reply | Feed:
        """`GET /v1/jobs/{id}`."""
        job = await self._own(request)
        return Reply(encode(job_value(self._desk.machine, job)), headers=job_headers(job.id))

    async def cancel(self, request: Request) -> Reply | Feed:
        """`POST /v1/jobs/{id}/cancel`: the job as it stands then. What has ended stays as it ended."""
        job = await self._own(request, SUBMIT)
        self._desk.cancel(job.id, job.client)
        job = await self._own(request, SUBMIT)
        return Reply(encode(job_value(self._desk.machine, job)), headers=job_headers(job.id))

    async def events(self, request: Request) -> Reply | Feed:
        """`GET /v1/jobs/{id}/events`, from `Last-Event-ID` on."""
        job = await self._own(request)
        cursor = number(request.header(b"last-event-id"), "Last-Event-ID", 2**53)
        events = streams.job_events(self._desk, job.client, job, cursor, _locate(request))
        return Feed(events, job_headers(job.id))

    async def result(self, request: Request) -> Reply | Feed:
        """`GET /v1/jobs/{id}/result`: the answer itself; its file where it is only one, unless JSON is asked for."""
        job = await self._own(request)
        answer = self._desk.answer(job)
        if len(answer.media) == 1 and not request.header(b"accept").startswith("application/json"):
            return file_reply(job, answer)
        return answer_reply(job, answer, _locate(request))

    async def receipt(self, request: Request) -> Reply | Feed:
        """`GET /v1/jobs/{id}/receipt`: the orchestrator's signed word about the answer."""
        job = await self._own(request)
        if job.receipt is None:
            raise NotFound(f"job {job.id} is {job.phase.value}, and there is no receipt of it")
        return Reply(encode(receipt_value(job.receipt)), headers=job_headers(job.id))

    async def why(self, request: Request) -> Reply | Feed:
        """`GET /v1/jobs/{id}/why`: who could be chosen for it, and by what they were judged."""
        job = await self._own(request)
        value = why_value(self._desk.machine, job, self._desk.now())
        return Reply(encode(value), headers=job_headers(job.id))

    async def media(self, request: Request) -> Reply | Feed:
        """`GET /media/{id}.0.wav`: an answer's file, for whoever was given its address."""
        job_id, _, name = request.part.partition(".")
        job = self._desk.machine.jobs.get(JobId(job_id))
        await self._desk.durable()
        if job is None or not name:
            raise NotFound(f"there is no file at {request.path[:100]}")
        return file_reply(job, self._desk.answer(job), name)

    async def policies(self, request: Request) -> Reply | Feed:
        """`GET /v1/policies`: by what an orchestrator can be chosen."""
        self._clients.identify(request)
        return Reply(encode(policies_value(self._desk.machine)))

    async def network(self, request: Request) -> Reply | Feed:
        """`GET /v1/network`."""
        visitor = self._clients.identify(request)
        value = network_value(self._desk.machine)
        if visitor.key is not None:  # what others were charged is none of a tenant's business
            del value["ledger"]
            for seller in value["sellers"]:
                del seller["earned_wei"]
        await self._desk.durable()
        return Reply(encode(value))

    async def health(self, request: Request) -> Reply | Feed:
        """`GET /health`: whether a job could be accepted now, and why not."""
        reasons = []
        if self._desk.closing:
            reasons.append("this gateway is stopping")
        if not any(standing.connected for standing in self._desk.machine.sellers.standings.values()):
            reasons.append("no orchestrator is connected")
        value = {"status": "unavailable" if reasons else "ok", "reasons": reasons}
        return Reply(encode(value), 503 if reasons else 200)

    # What they share

    async def _own(self, request: Request, permission: Permission = READ) -> Job:
        visitor = self._clients.identify(request, permission)
        return await self._desk.own(visitor.client, request.part)

    def _write(self, job: Job, write: Callable[[Payload], Reply]) -> Reply:
        """The answer of an ended job, or what it failed of, with the job's name in either case."""
        try:
            return write(self._desk.answer(job))
        except ShoalError as error:
            return error_reply(error, job_headers(job.id))

    def _order(self, request: Request, visitor: Visitor, asked: Ask, fields: Wants) -> Submitted:
        headers, client = request.headers, visitor.client
        key = headers.get(b"idempotency-key", b"").decode("latin-1")
        if len(key) > KEY_CHARACTERS_MAX:
            raise Refused(f"an idempotency key has at most {KEY_CHARACTERS_MAX} characters")
        limit = asked.row.price
        if b"shoal-max-price-wei" in headers:
            given = Price(number(request.header(b"shoal-max-price-wei"), "Shoal-Max-Price-Wei", 2**63))
            limit = given if given.within(limit) else limit
        said = wants.said(headers, fields)
        spec = wants.in_session(asked.spec, self._gateway, client, said.session or asked.session)
        preference = wants.preference(said, visitor.grant)
        deadline_ms = said.deadline_ms or asked.row.deadline_ms
        return Submitted(
            new_job_id(), client, spec, asked.body, limit, deadline_ms, key, preference, visitor.key_id
        )

    async def _begin(self, request: Request, visitor: Visitor, asked: Ask) -> Begun:
        """Submit, and watch both the job and the client."""
        # Who waits no longer than so has no use for a later answer, unless it can come back for it.
        patient = asked.spec.stream or b"idempotency-key" in request.headers
        wait_ms = 0 if patient else wants.wait_ms(request.headers)
        fields = Wants(deadline_ms=wait_ms) if wait_ms else wants.NOTHING
        order = self._order(request, visitor, asked, fields)
        desk = self._desk
        watch = desk.watch(order.job)
        try:
            job_id = await desk.submit(order)
        except BaseException:
            desk.unwatch(watch)
            raise
        if job_id != order.job:
            desk.unwatch(watch)
            watch = desk.watch(job_id)
        request.presence.when_ended(watch.leave)
        return Begun(job_id, visitor.client, asked.spec, watch, request.presence, bool(order.key))

    async def _finish(self, begun: Begun) -> Job:
        """The job at its end."""
        job = None
        try:
            job = await begun.watch.ended
        finally:
            self._let_go(begun, ended=job is not None)
        if job is None:
            raise self._desk.parting()
        return job

    def _let_go(self, begun: Begun, *, ended: bool) -> None:
        begun.presence.forget(begun.watch.leave)
        self._desk.unwatch(begun.watch)
        if not ended and not begun.keyed and not self._desk.failed:
            self._desk.let_go(begun.job, begun.client)

    async def _stream(
        self, begun: Begun, dialect: streams.Dialect, include_usage: bool = False
    ) -> Reply | Feed:
        desk = self._desk
        head = streams.LlmHead(begun.job, begun.spec.model, desk.now() // SECOND_MS, include_usage)
        pieces = self._pieces(begun)
        try:
            first = await asyncio.create_task(streams.begun(pieces))
        except ShoalError as error:
            return error_reply(error, job_headers(begun.job))

        def whole() -> Any:
            job = begun.watch.ended.result()
            assert job is not None
            return llm_answer(desk.answer(job))

        return Feed(streams.chunks(dialect, head, first, pieces, whole), job_headers(begun.job))

    async def _pieces(self, begun: Begun) -> streams.Pieces:
        """The job's text; whoever stops listening early lets the job go."""
        ended = False
        try:
            async for piece in streams.follow(self._desk, begun.watch, begun.job):
                yield piece
            ended = True
        finally:
            watch = begun.watch
            self._let_go(begun, ended=ended or (watch.ended.done() and watch.ended.result() is not None))


def _locate(request: Request) -> Locate:
    """How this client is told of files: by an address at the name by which it found us, or inline if it likes."""
    if request.query("files") == "inline":
        return partial(data_url, "")
    return lambda job, media: file_url(_origin(request), job, media)


def _origin(request: Request) -> str:
    """The name by which a client found us, "" if it does not say."""
    scheme = "https" if request.header(b"x-forwarded-proto") == "https" else "http"
    host = request.header(b"host")
    return f"{scheme}://{host}" if host else ""
