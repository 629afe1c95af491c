"""Several models made ready at once: the manifest is read by many threads, in a process that nothing brings down."""

from __future__ import annotations

import subprocess
import sys

READ = """
import importlib, sys, threading
import shoal.worker.models as models
sys.setswitchinterval(1e-6)
for _ in range(150):
    importlib.reload(models)
    together = threading.Barrier(3)
    def read(parse=models.manifest.__wrapped__):
        together.wait()
        parse()
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_threads_that_read_the_manifest_together_all_live() -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
