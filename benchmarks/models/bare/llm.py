"""xllamacpp: one chat, answered whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import xllamacpp

from benchmarks.models.bare.script import Job, Work, run

CONTEXT_TOKENS = 4096


def load(folder: Path, threads: int) -> Work:
    [weights] = folder.glob("*.gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.n_parallel = 1
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = 1
    parameters.cache_ram_mib = 0
    parameters.fit_params = False
    with tempfile.TemporaryDirectory() as private:
        parameters.hostnames = [str(Path(private) / "unused.sock")]
        server = xllamacpp.Server(parameters)

    def work(job: Job) -> bytes:
        # Without the cache the prompt is read anew for each job, as the network does where a seed is given.
        answer = server.handle_chat_completions({**job.params, "cache_prompt": False})
        return str(answer["choices"][0]["message"]["content"]).encode()

    return work


if __name__ == "__main__":
    run(load)
