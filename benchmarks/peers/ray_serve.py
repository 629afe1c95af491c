"""Ray Serve, one replica that echoes: in its default mode and in its fastest.

The fast mode puts the HAProxy that comes with `ray[serve]` in front of the replica
and turns its throughput settings on. It binds some ports to all interfaces, as its
HAProxy mode insists on; only loopback is ever asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.peers.peer import PROGRAMS, Peer, Room, peers_python
from benchmarks.processes import Program

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


def default(room: Room) -> Peer:
    return ray(room, {})


def tuned(room: Room) -> Peer:
    haproxy = room.folder / "haproxy"
    return ray(
        room,
        {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{haproxy}/haproxy.cfg",
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{haproxy}/admin.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{haproxy}/server-state",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(room.port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(room.port()),
        },
    )


def ray(room: Room, mode: Mapping[str, str]) -> Peer:
    port = room.port()
    command = (peers_python("ray"), str(PROGRAMS / "ray_echo.py"), str(port), str(room.folder))
    return Peer((Program(command, {**QUIET, **mode}),), f"127.0.0.1:{port}", "/")
