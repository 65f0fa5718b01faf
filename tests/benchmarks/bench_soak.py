"""Whether anything grows with the number of past requests.

    python -m tests.benchmarks soak                  # three minutes
    KCORE_SOAK_MINUTES=60 python -m tests.benchmarks soak

200 writes a second -- updates of a few hundred objects, creates, deletes, refused ones -- with reads and short watches
beside them, on SQLite with compaction. Printed every so often: memory and disk. Flat means that the second half of the
run has added next to nothing; compaction keeps one to two retention periods, so these are cut to the run's length.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from kcore.testing.running import RunningCluster, running
from tests.benchmarks.bench_server import config_map
from tests.benchmarks.figures import figure, heading, resident_bytes
from tests.benchmarks.load import Connection, Target, connections

MINUTES = float(os.environ.get("KCORE_SOAK_MINUTES", "3"))
PER_SECOND = 200
OBJECTS = 300
MAPS = "/api/v1/namespaces/soak/configmaps"
POINTS = 12


def disk_bytes(cluster: RunningCluster) -> int:
    return sum(path.stat().st_size for path in Path(cluster.directory).glob("state.db*"))


def read_status(connection: Connection, request: bytes) -> int:
    connection.send(request)
    while True:
        answer = connection.receive()
        if answer is not None:
            return int(answer[9:12])


def write(number: int) -> tuple[str, str, bytes]:
    """Of ten writes seven are updates, one a create, one a delete, one refused."""
    turn, name = number % 10, f"kept-{number % OBJECTS}"
    if turn == 7:
        return "POST", MAPS, config_map(f"passing-{number}")
    if turn == 8:
        return "DELETE", f"{MAPS}/passing-{number - 1}", b""
    if turn == 9:
        return "POST", MAPS, config_map("kept-0")
    body = json.loads(config_map(name))
    body["data"]["number"] = str(number)
    return "PUT", f"{MAPS}/{name}", json.dumps(body).encode()


def soak(cluster: RunningCluster) -> list[tuple[float, int, int]]:
    """(seconds, memory, disk) now and then."""
    target = Target.of(cluster.kubeconfig)
    points: list[tuple[float, int, int]] = []
    with connections(target, 1) as (connection,):
        space = json.dumps({"metadata": {"name": "soak"}}).encode()
        connection.ask(target.request("POST", "/api/v1/namespaces", space), code=201)
        for number in range(OBJECTS):
            connection.ask(target.request("POST", MAPS, config_map(f"kept-{number}")), code=201)
        began = time.perf_counter()
        number = 0
        while True:
            now = time.perf_counter() - began
            if now >= len(points) * MINUTES * 60 / POINTS:
                points.append((now, resident_bytes(cluster.process.pid), disk_bytes(cluster)))
                memory, disk = points[-1][1] / 1e6, points[-1][2] / 1e6
                figure(f"after {now:,.0f} s and {number:,} writes", f"{memory:,.1f} MB", f"disk {disk:,.1f} MB", None)
                if len(points) > POINTS:
                    return points
            code = read_status(connection, target.request(*write(number)))
            if code >= 500 or code == 429:
                raise ConnectionError(f"write {number} was answered {code}")
            number += 1
            if number % 50 == 0:
                connection.ask(target.request("GET", f"{MAPS}?limit=50"))
                connection.ask(target.request("GET", f"/api/v1/no-such-thing-{number}"), code=404)
            ahead = number / PER_SECOND - (time.perf_counter() - began)
            if ahead > 0:
                time.sleep(ahead)


def main() -> None:
    heading(f"{PER_SECOND} writes a second for {MINUTES:g} minutes")
    retention = min(300.0, MINUTES * 60 / 8)
    with running("api-only", set={"store.use": "sqlite", "store.retention": retention}) as cluster:
        points = soak(cluster)
    half = points[len(points) // 2 :]
    for name, at in (("memory", 1), ("disk", 2)):
        grown = half[-1][at] - half[0][at]
        share = grown / half[0][at]
        figure(
            f"{name} grown in the second half", f"{grown / 1e6:+.1f} MB", "at most 5 %", share <= 0.05, f"{share:+.1%}"
        )


if __name__ == "__main__":
    main()
