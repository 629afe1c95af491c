"""Ray Serve with one replica that hands the request's bytes back.

Started as `python ray_echo.py PORT FOLDER`; runs until it is told to end. What
differs between the default and the tuned mode comes by the environment alone.
"""

# mypy: disable-error-code="import-not-found,misc,attr-defined"
# Ray lives in the peers' environment, where the type checker does not look.

from __future__ import annotations

import signal
import sys

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

#: Ray admits five requests to a replica by default; at 64 clients the rest would queue at its door.
ONGOING_MAX = 256


@serve.deployment(num_replicas=1, max_ongoing_requests=ONGOING_MAX)
class Echo:
    async def __call__(self, request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")


def main(port: int, folder: str) -> None:
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
        object_store_memory=128 * 1024 * 1024,
        logging_level="warning",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Echo.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
