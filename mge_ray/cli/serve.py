"""`mge-ray serve`: the HTTP API and the live page on Ray Serve, with a local Ray if there is none."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mge_ray.adapters.journal import shown_url, upgrade
from mge_ray.adapters.journal.tokens import create_token, list_tokens
from mge_ray.adapters.sandbox import SandboxLevel
from mge_ray.api.limits import ServiceLimits
from mge_ray.cli import simulate
from mge_ray.cli.change import user_name
from mge_ray.cli.console import console
from mge_ray.cli.on_ray import RunError, leave
from mge_ray.cli.options import DbOption, PriceOption, database
from mge_ray.cli.run import check_money
from mge_ray.cli.run_flags import (
    AddressOption,
    EscalationOption,
    FaultOption,
    LatencyOption,
    LiveOption,
    SandboxOption,
    SeedOption,
    SimulatedOption,
    TemperatureOption,
)
from mge_ray.domain.access import Role
from mge_ray.domain.events import MOST_CONCURRENCY
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.wiring.build import SECRETS
from mge_ray.wiring.service import ServiceConfig
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL, EngineConfig

TOKEN_FILE = "first-token"  # noqa: S105  # a file's name


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("serve")
    def serve(
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
        replicas: Annotated[int, typer.Option(min=1, max=100, help="Processes that answer requests.")] = 2,
        simulated: SimulatedOption = False,
        answers: Annotated[Path | None, typer.Option(help="Answers of the simulated server.")] = None,
        wrong_answers: Annotated[Path | None, typer.Option(help="Wrong answers known to fail.")] = None,
        fault: FaultOption = None,
        latency: LatencyOption = "fixed:0",
        seed: SeedOption = 0,
        live: LiveOption = False,
        model: Annotated[str, typer.Option(help="Model where a client names none.")] = DEFAULT_MODEL,
        escalation_model: EscalationOption = DEFAULT_ESCALATION_MODEL,
        price: PriceOption = None,
        concurrency: Annotated[
            int, typer.Option(min=1, max=MOST_CONCURRENCY, help="Calls in flight at most, of all executions.")
        ] = 100,
        temperature: TemperatureOption = None,
        sandbox: SandboxOption = None,
        engine: Annotated[
            str, typer.Option(help="Name under which executions are taken up again after a restart.")
        ] = "service",
        address: AddressOption = None,
        db: DbOption = None,
        auth: Annotated[bool, typer.Option(help="Ask for tokens; --no-auth only on loopback.")] = True,
        max_body: Annotated[int, typer.Option(min=1, help="Largest body in MiB.")] = 32,
    ) -> None:
        """Serve `/api/v2/execution`, the live page and `/metrics` until it is interrupted.

        Executions that an earlier service of the same name and database left are taken up again.
        """
        if simulated == live:
            raise RunError("say --simulate (no key, no money) or --live (real calls, real money)")
        if live and not any(os.environ.get(name) for name in SECRETS):
            raise RunError("--live needs a key: set ANTHROPIC_API_KEY in the environment")
        if not auth and not _is_loopback(host):
            raise RunError(f"--no-auth would let anybody at {host} spend money; it is for loopback only")
        if sandbox is not None and sandbox not in {level.value for level in SandboxLevel}:
            raise RunError(f"--sandbox {sandbox!r} is none of {', '.join(level.value for level in SandboxLevel)}")
        local = address in {None, "local"}
        config = EngineConfig(
            engine_id=engine,
            db_url=database(db),
            simulated=simulated,
            base_url=None if simulated else os.environ.get("ANTHROPIC_BASE_URL"),
            prices=tuple(price or ()),
            require_price=True,
            sampling=temperature,
            generate_limit=concurrency,
            sandbox_level=sandbox,
            driver_pid=os.getpid() if local else None,
            takes_up=True,
        )
        check_money(config, model, escalation_model or None)
        service = ServiceConfig(
            engine=config,
            model=model,
            escalation_model=escalation_model,
            faults=f"{' '.join(sorted(fault))} seed={seed}" if fault else "",
            auth=auth,
            limits=ServiceLimits(body_bytes=max_body << 20),
        )
        server = None
        if simulated:
            server = simulate.configuration(simulate.flags(answers, wrong_answers, fault or [], latency, seed))
        _serve(service, server, host, port, replicas, None if local else address)


def _serve(
    service: ServiceConfig,
    server: SimulatorConfig | None,
    host: str,
    port: int,
    replicas: int,
    address: str | None,
) -> None:
    from mge_ray.cluster.session import joined_session, local_session  # noqa: PLC0415  # keeps Ray out of others

    screen = console(stderr=True)
    upgrade(service.engine.db_url)
    if service.auth:
        _first_token(service.engine.db_url, screen)
    with ExitStack() as stack:
        if server is not None:
            url = stack.enter_context(simulate.server(server))
            service = service.model_copy(update={"engine": service.engine.model_copy(update={"base_url": url})})
        where = f"joining {address}" if address else "starting a local Ray"
        screen.print(f"{where} ...", markup=False)
        stack.enter_context(joined_session(address) if address else local_session(on_lost=leave, serves_at=host))
        stop = stack.enter_context(_stopped())
        from mge_ray.cluster.engine import sandbox_level  # noqa: PLC0415  # Ray's environment is set by now
        from mge_ray.cluster.serve import run_service, stop_service  # noqa: PLC0415

        level = sandbox_level(service.engine.sandbox_level)
        if not service.engine.simulated and not level.is_full and service.engine.sandbox_level is None:
            raise RunError(
                f"--live wants full isolation, and this machine gives {level.value!r} (install bubblewrap); "
                f"to run all the same, say --sandbox {level.value}"
            )
        service = service.model_copy(
            update={"engine": service.engine.model_copy(update={"sandbox_level": level.value})}
        )
        engine = run_service(service, host=host, port=port, replicas=replicas)
        provider = "the real provider"
        if service.engine.simulated:
            provider = f"simulated Messages server; its books are at {service.engine.base_url}/stats"
        shown = f"[{host}]" if ":" in host else host
        lines = [
            f"serving    http://{shown}:{port}/  (page), /docs (API), /metrics; Ctrl-C to stop",
            f"provider   {provider}",
            f"journal    {shown_url(service.engine.db_url)}",
            f"sandbox    {level.value}",
        ]
        screen.print("\n".join(lines), markup=False, soft_wrap=True)
        stop.wait()
        screen.print("stopping: executions are kept and go on when it serves again", markup=False)
        stop_service()
        if address is None:
            engine.close()


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """Yield what is set by Ctrl-C and SIGTERM."""
    stop = threading.Event()
    saved = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)


def _first_token(url: str, screen: Console) -> None:
    """Make an administrator's token where there is none yet; it is kept in a file that only this user can read."""
    if list_tokens(url):
        return
    folder = Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else Path.cwd() / ".mge"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TOKEN_FILE
    path.unlink(missing_ok=True)
    secret, _ = create_token(url, tenant="", role=Role.ADMIN, by=user_name(), name="first token")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    screen.print(f"token      made, kept in {path} (role admin); `mge-ray token create` makes others", markup=False)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
