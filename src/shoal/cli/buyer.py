"""A buyer of work: jobs in, answers out, over a gateway's `/v1/jobs`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from shoal.cli.client import READ_TIMEOUT_S, Answer, Client, Json
from shoal.cli.network import GATEWAY_PORT, HOST, NETWORK_FILE
from shoal.errors import Refused
from shoal.runtime.config import home
from shoal.wire.references import with_urls

#: A job as the gateway tells of it.
Job = dict[str, Any]

ENDED = ("done", "failed", "cancelled")


class File(Struct, frozen=True):
    """A file to be sent: the form's field, its name, its bytes."""

    field: str
    name: str
    data: bytes


class Buyer:
    """Sends jobs to one gateway and follows them."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def submit(
        self,
        pipeline: str,
        params: Mapping[str, object],
        *,
        file: File | None = None,
        deadline_ms: int = 0,
        key: str = "",
        wants: Mapping[str, str | bool] | None = None,
    ) -> Job:
        """A new job, or the one that this key and this request made before.

        `wants` are the fields of `/v1/jobs` that say how it is to be served: policy, priority, region, hedge, session.
        """
        headers = {"Idempotency-Key": key} if key else {}
        said: dict[str, object] = {name: value for name, value in (wants or {}).items() if value}
        if deadline_ms:
            said["deadline_ms"] = deadline_ms
        if file is None:
            wanted = {"pipeline": pipeline, "params": dict(params), **said}
            return _job(self.client.post("/v1/jobs", wanted, headers))
        fields = {name: "true" if value is True else str(value) for name, value in said.items()}
        fields |= {"pipeline": pipeline, "params": json.dumps(dict(params))}
        kind, body = form(fields, file)
        return _job(self.client.post("/v1/jobs", body, headers | {"Content-Type": kind}))

    def follow(self, job_id: str) -> Iterator[tuple[str, Json]]:
        """A job's events as they come, to its end: ("state", job) and ("text", {"text", "units"})."""
        for name, data in self.client.events("GET", f"/v1/jobs/{job_id}/events"):
            yield name, json.loads(data)

    def ended(self, job_id: str) -> Job:
        """A job once it has ended; a stream that a gateway ends early is taken up again."""
        while True:
            for name, value in self.follow(job_id):
                if name == "state" and value["state"] in ENDED:
                    return Job(value)

    def job(self, job_id: str) -> Job:
        """A job as it stands."""
        return _job(self.client.get(f"/v1/jobs/{job_id}"))

    def why(self, job_id: str) -> dict[str, Any]:
        """Why a job ran where it ran."""
        return dict(self.client.get(f"/v1/jobs/{job_id}/why").json())

    def policies(self) -> dict[str, Any]:
        """By what a job's node can be chosen at this gateway."""
        return dict(self.client.get("/v1/policies").json())

    def jobs(self, limit: int) -> list[Job]:
        """This client's jobs, the newest first."""
        return list(self.client.get(f"/v1/jobs?limit={limit}").json()["jobs"])

    def cancel(self, job_id: str) -> Job:
        """Stop a job; as it stands then."""
        return _job(self.client.post(f"/v1/jobs/{job_id}/cancel"))

    def result(self, job_id: str) -> Answer:
        """A job's answer: JSON, or the bytes of a file."""
        return self.client.get(f"/v1/jobs/{job_id}/result")

    def answer(self, job_id: str) -> Json:
        """A job's answer as JSON, its files named by their addresses."""
        return self.client.ask(
            "GET", f"/v1/jobs/{job_id}/result", headers={"Accept": "application/json"}
        ).json()

    def file(self, url: str) -> bytes:
        """A file of an answer; its address is taken at this gateway, whatever the gateway calls itself."""
        return self.client.get(urlsplit(url).path).body

    def network(self) -> dict[str, Any]:
        """Who sells what, and how the gateway's ledger stands."""
        return dict(self.client.get("/v1/network").json())


def files_of(result: Json) -> list[str]:
    """The addresses of an answer's files."""
    found: list[str] = []

    def note(url: str) -> str:
        found.append(url)
        return url

    with_urls(result, note)
    return found


def form(fields: Mapping[str, str], file: File) -> tuple[str, bytes]:
    """A form with one file: its content type and its bytes."""
    boundary = "shoal-" + hashlib.sha256(file.data).hexdigest()
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    name = file.name.replace('"', "_").replace("\r", "_").replace("\n", "_")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{file.field}"; filename="{name}"\r\n'
    body = b"".join(
        [*parts, head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", file.data, b"\r\n"]
    )
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def read_file(path: Path, field: str) -> File:
    """A file on this computer, to be sent."""
    try:
        return File(field, path.name, path.read_bytes())
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error


def gateway_url(named: str | None) -> str:
    """Where the gateway is: as named, else `$SHOAL_URL`, else where `shoal up` last put it."""
    if named or (named := os.environ.get("SHOAL_URL")):
        return named
    try:
        note = json.loads((home(os.environ) / "networks" / "local" / NETWORK_FILE).read_text())
        return str(note["gateway"])
    except (OSError, ValueError, KeyError):
        return f"http://{HOST}:{GATEWAY_PORT}"


def gateway(named: str | None, *, timeout_s: float = READ_TIMEOUT_S) -> Client:
    """A client of that gateway; `$SHOAL_API_KEY` goes with it, if there is one."""
    return Client(gateway_url(named), timeout_s=timeout_s, key=os.environ.get("SHOAL_API_KEY", ""))


def names() -> dict[str, str]:
    """What the nodes of the local network are called, by their ids."""
    try:
        note = json.loads((home(os.environ) / "networks" / "local" / NETWORK_FILE).read_text())
        return {node: about["name"] for node, about in note["nodes"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def _job(answer: Answer) -> Job:
    return dict(answer.json())
