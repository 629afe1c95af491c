"""Send a job to the network and show its answer as it comes; Ctrl-C cancels it.

The answer goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from shoal.cli.buyer import ENDED, Buyer, File, Job, files_of, gateway, names, read_file
from shoal.cli.terminal import duration, gwei
from shoal.errors import BY_CODE, Failed, Refused
from shoal.runtime.chance import new_job_id
from shoal.units import SECOND_MS
from shoal.wire.pipelines import PIPELINES, Pipeline, pipeline
from shoal.work.queue import PRIORITIES

EXAMPLE = """\
  shoal run llm "Name three fish."
  shoal run text-to-speech "Good morning." -o morning.wav
  shoal run audio-to-text morning.wav --json
  shoal run text-to-image "a red heart" -o heart.png
  shoal run upscale heart.png --params '{"factor": 2}'
  shoal run image-to-image photo.jpg "mosaic"
  shoal run llm "Name three fish." --priority low --deadline 60
  shoal run embeddings "a cat" --json"""

STDIN = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be run, on what, and how."""
    parser.add_argument("pipeline", metavar="PIPELINE", help=", ".join(PIPELINES))
    parser.add_argument(
        "input", metavar="INPUT", help="a text, a file where sound or a picture is wanted, - for stdin"
    )
    parser.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="what is to be done with the file, if that can be said"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where an answer that is a file goes"
    )
    parser.add_argument("--model", default="", metavar="ID", help="which model (the pipeline's first)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="the longest answer (llm)")
    parser.add_argument("--params", default="{}", metavar="JSON", help="any others: '{\"temperature\": 0}'")
    parser.add_argument("--deadline", type=float, default=0, metavar="SECONDS", help="how long it may take")
    parser.add_argument(
        "--policy", default="", metavar="NAME", help="how its node is chosen (the gateway's way)"
    )
    parser.add_argument("--priority", default="", choices=PRIORITIES, help="its class in the queue (normal)")
    parser.add_argument("--region", default="", metavar="NAME", help="the only region it may run in (any)")
    parser.add_argument("--hedge", action="store_true", help="ask a second node when the first takes long")
    parser.add_argument("--key", default="", help="an idempotency key: the same key and input, the same job")
    parser.add_argument("--gateway", metavar="URL", help="($SHOAL_URL, else the network of `shoal up`)")
    parser.add_argument("--json", action="store_true", help="print the job and its answer as JSON")


def run(options: argparse.Namespace) -> int:
    """Submit, follow, and show."""
    row = pipeline(options.pipeline)
    buyer = Buyer(gateway(options.gateway))
    params, file = _request(row, options)
    deadline_ms = round(options.deadline * SECOND_MS)
    wants = {name: getattr(options, name) for name in ("policy", "priority", "region", "hedge")}
    key = options.key or new_job_id()  # whoever is interrupted while it asks can ask which job that made
    ask = partial(buyer.submit, row.name, params, file=file, deadline_ms=deadline_ms, key=key, wants=wants)
    job: Job | None = None
    try:
        job = ask()
        job = _follow(buyer, job, show=not options.json)
    except KeyboardInterrupt:
        job = buyer.cancel((job or ask())["id"])
        print(f"\n{job['id']} is {job['state']}, charged {gwei(job['charged_wei'])}", file=sys.stderr)
        raise
    if job["error"] is not None:
        raise BY_CODE.get(job["error"]["code"], Failed)(f"{job['id']}: {job['error']['message']}")
    if job["state"] == "cancelled":
        raise Refused(f"{job['id']} was cancelled")
    if job["state"] != "done":
        raise Failed(f"the gateway let go; the job goes on: shoal jobs {job['id']} --watch")
    _show(buyer, row, job, options)
    return 0


def _request(row: Pipeline, options: argparse.Namespace) -> tuple[dict[str, Any], File | None]:
    """The parameters and the file that this pipeline takes."""
    params = _others(options.params)
    if options.model:
        params[row.model_field] = options.model
    if options.max_tokens is not None and row.name != "llm":
        raise Refused(f"--max-tokens is for llm, not for {row.name}")
    if row.media:
        if options.prompt is not None:
            if not row.text_field:
                raise Refused(f"{row.name} takes no prompt beside its file; leave {options.prompt!r} out")
            params[row.text_field] = options.prompt
        field = row.media[0].field
        if options.input == STDIN:
            return params, File(field, "stdin", sys.stdin.buffer.read())
        return params, read_file(Path(options.input), field)
    if options.prompt is not None:
        raise Refused(f"{row.name} takes one text; put it in quotes")
    text = sys.stdin.read() if options.input == STDIN else options.input
    if row.text_field:
        return params | {row.text_field: text}, None
    if options.max_tokens is not None:
        params["max_tokens"] = options.max_tokens
    return params | {"messages": [{"role": "user", "content": text}], "stream": True}, None


def _others(text: str) -> dict[str, Any]:
    try:
        params = json.loads(text)
    except ValueError as error:
        raise Refused(f"--params is no JSON: {error}") from error
    if not isinstance(params, dict):
        raise Refused("--params is a JSON object: '{\"temperature\": 0}'")
    return params


def _follow(buyer: Buyer, job: Job, *, show: bool) -> Job:
    """The job at its end; its text is shown as it comes."""
    shown, told = "", ""
    for name, value in buyer.follow(job["id"]):
        if name == "text" and show:
            shown += value["text"]
            print(value["text"], end="", flush=True)
        elif name == "error":
            print(f"\n{value['error']['message']}", file=sys.stderr)
        elif name == "state":
            job = value
            if job["state"] == "queued" and job["position"] and sys.stderr.isatty():
                wait = duration(job["start_estimate_ms"])
                print(f"waiting: {job['position']} jobs before this one, about {wait}", file=sys.stderr)
            elif job["state"] == "running" and job["progress"] and not shown and sys.stderr.isatty():
                told = f"{job['progress']:.0%}"
                print(f"\r{told:<4}", end="", file=sys.stderr, flush=True)
    if told:
        print("\r    \r", end="", file=sys.stderr)
    if shown and not shown.endswith("\n"):
        print()
    return job if job["state"] in ENDED else buyer.job(job["id"])


def _show(buyer: Buyer, row: Pipeline, job: Job, options: argparse.Namespace) -> None:
    result = buyer.answer(job["id"])
    saved = _save(buyer, row, job, result, options.output) if row.answers else []
    if options.output is not None and not row.answers:
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    if options.json:
        print(json.dumps(job | {"result": result} | ({"files": saved} if saved else {}), indent=2))
        return
    for path in saved:
        print(f"{Path(path).stat().st_size:,} bytes of {row.answers} in {path}")
    if not saved and not (row.streams and row.name == "llm"):
        print(_readable(result))
    known = names()
    worker, orchestrator = (known.get(job[part], job[part]) for part in ("worker", "orchestrator"))
    print(
        f"{job['id']}: {worker} for {orchestrator}; waited {duration(job['queue_ms'])}, "
        f"ran {duration(job['run_ms'])}; {job['units']:,} x {job['unit']}: {gwei(job['charged_wei'])}",
        file=sys.stderr,
    )


def _save(buyer: Buyer, row: Pipeline, job: Job, result: Any, output: Path | None) -> list[str]:
    """Write an answer's files, and say where each one is; several are numbered."""
    urls = files_of(result)
    plain = output or Path(f"{job['id']}.{row.answers.rpartition('/')[2]}")
    saved = []
    for number, url in enumerate(urls, 1):
        path = plain if len(urls) == 1 else plain.with_stem(f"{plain.stem}-{number}")
        data = buyer.file(url)
        path.write_bytes(data)
        saved.append(str(path))
    return saved


def _readable(result: Any) -> str:
    """The text of an answer; its JSON if it is none."""
    text = result.get("text") if isinstance(result, dict) else None
    return text if isinstance(text, str) else json.dumps(result)
