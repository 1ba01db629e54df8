"""What clients of the service cost a run, and how long a status takes meanwhile. Simulated server; synthetic atoms.

    python benchmarks/service_load.py              # 800 atoms, 8 waves, 100 leases, 5 s; 100 pollers, 50 streams
    python benchmarks/service_load.py --checks

One engine executes the same plan twice, first without clients, then with pollers that ask for the status each second
and streams of events, all in one client process of their own. Everything runs on this machine: Ray, two replicas of
the service, Serve's proxy, gateways, the simulated server and the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import aiohttp
from cpu import cpu_seconds, spent_since
from dispatch import synthetic_plan
from simulated import Engine, open_simulated

from mge_ray.cli.simulate import configuration
from mge_ray.domain.plan import Masterplan
from mge_ray.wiring.service import ServiceConfig

API = "/api/v2/execution"
POLL_S = 1.0
HOST = "127.0.0.1"


def main() -> None:
    """Run both and print the figures; with `--client`, be the clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=800)
    parser.add_argument("--waves", type=int, default=8)
    parser.add_argument("--leases", type=int, default=100)
    parser.add_argument("--latency", type=float, default=5.0)
    parser.add_argument("--checks", action="store_true", help="run the full ladder of levels instead of none")
    parser.add_argument("--pollers", type=int, default=100)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--client", nargs=3, metavar=("URL", "EXECUTION", "TOKEN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        print(json.dumps(asyncio.run(clients(*arguments.client, arguments.pollers, arguments.streams))))
        return
    plan, answers = synthetic_plan(arguments.atoms, arguments.waves)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.json"
        path.write_text(json.dumps(answers))
        simulator = configuration([f"--answers={path}", f"--latency=fixed:{arguments.latency}"])
        with open_simulated(
            simulator, folder, leases=arguments.leases, checks=arguments.checks, serves_at=HOST
        ) as engine:
            run(plan, engine, arguments)


def run(plan: Masterplan, engine: Engine, arguments: argparse.Namespace) -> None:
    """Serve the engine, execute the plan without and with clients, and print what it took."""
    from mge_ray.adapters.journal.tokens import create_token  # noqa: PLC0415  # Ray's environment is set by now
    from mge_ray.cluster.serve import run_service, stop_service  # noqa: PLC0415
    from mge_ray.domain.access import Role  # noqa: PLC0415

    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port = sock.getsockname()[1]
    run_service(ServiceConfig(engine=engine.config), host=HOST, port=port, replicas=2)
    token, _ = create_token(engine.config.db_url, tenant="", role=Role.VIEWER, by="the benchmark")
    engine.run(synthetic_plan(4 if arguments.checks else 2, 1)[0])  # warm: the bound is about a running engine
    alone = engine.run(plan)
    before = cpu_seconds()
    began = time.monotonic()
    execution_id = engine.client.start(plan, engine.settings)
    flags = [f"--pollers={arguments.pollers}", f"--streams={arguments.streams}"]
    command = [sys.executable, __file__, *flags, "--client", f"http://{HOST}:{port}", str(execution_id), token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        engine.client.wait(execution_id)
        watched_s = time.monotonic() - began
        cpu = spent_since(before)
        told, _ = process.communicate(timeout=120)
    stop_service()
    report, seen = engine.client.report(execution_id), json.loads(told)
    ms = sorted(1000 * one for one in seen["latencies"])
    cuts = quantiles(ms, n=100)
    print(f"{report.status}: {report.atoms_succeeded}/{report.atoms_total} atoms, {arguments.waves} waves,")
    print(f"  {arguments.leases} leases, {arguments.latency:g} s simulated latency, {os.cpu_count()} cores, ", end="")
    print(f"{engine.config.sandbox_level or 'no checks'}; {arguments.pollers} pollers, {arguments.streams} streams")
    print(f"  wall {alone.wall_s:.1f} s without clients, {watched_s:.1f} s with: {watched_s / alone.wall_s:.3f} x")
    print(
        f"  status: {len(ms)} answers, p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms, longest {ms[-1]:.0f} ms; ", end=""
    )
    print(f"other than 200: {seen['refused']}")
    print(
        f"  events: {min(seen['events'])} to {max(seen['events'])} per stream, each once: {seen['each_once']}; ", end=""
    )
    print(f"journalled {seen['journalled']}")
    print(f"  CPU with clients: {sum(seconds for _, seconds in cpu):.1f} s, of which")
    for role, seconds in cpu[:10]:
        print(f"    {seconds:5.1f} s {role}")


async def clients(url: str, execution_id: str, token: str, pollers: int, streams: int) -> dict[str, object]:
    """Poll and stream until the execution has ended; return what was seen."""
    latencies: list[float] = []
    refused: list[int] = []
    over = asyncio.Event()
    path = f"{url}{API}/{execution_id}"
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=1 << 22
    ) as session:

        async def poll(number: int) -> None:
            await asyncio.sleep(POLL_S * number / pollers)
            while not over.is_set():
                began = time.monotonic()
                async with session.get(path) as answer:
                    body = await answer.read()
                latencies.append(time.monotonic() - began)
                if answer.status != 200:  # noqa: PLR2004
                    refused.append(answer.status)
                elif json.loads(body)["status"] in {"completed", "failed", "cancelled"}:
                    over.set()
                await asyncio.sleep(max(0.0, began + POLL_S - time.monotonic()))

        async def follow() -> bytes:
            async with session.get(f"{path}/events", headers={"Accept": "text/event-stream"}) as answer:
                return await answer.read()

        following = [asyncio.create_task(follow()) for _ in range(streams)]
        await asyncio.gather(*(poll(number) for number in range(pollers)))
        texts = await asyncio.gather(*following)
        journalled, after = 0, 0
        while True:
            async with session.get(f"{path}/events", params={"after": after, "limit": 1000}) as answer:
                page = await answer.json()
            if not page["events"]:
                break
            journalled, after = journalled + len(page["events"]), page["next_after"]
    seen = [[int(number) for number in re.findall(rb"^id: (\d+)$", text, re.MULTILINE)] for text in texts]
    return {
        "latencies": latencies,
        "refused": len(refused),
        "events": [len(one) for one in seen],
        "each_once": all(one == list(range(1, journalled + 1)) for one in seen),
        "journalled": journalled,
    }


if __name__ == "__main__":
    main()
