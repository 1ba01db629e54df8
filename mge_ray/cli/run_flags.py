"""Options of a run that `run` and `plan` share: who is called, with what money, where."""

from __future__ import annotations

from typing import Annotated

import typer

from mge_ray.domain.events import MOST_CONCURRENCY

HELP_FAULT = "Fault of the simulated server, e.g. --fault wrong=0.2 --fault 429=0.05; see `mge-ray simulate --help`."

SimulatedOption = Annotated[
    bool, typer.Option("--simulate", help="Use the bundled simulated Messages server; no key, no money.")
]
FaultOption = Annotated[list[str] | None, typer.Option(metavar="NAME=RATE", help=HELP_FAULT)]
LatencyOption = Annotated[str, typer.Option(help="Simulated latency: fixed:S or lognormal:MEDIAN:SIGMA.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the simulated faults.")]
LiveOption = Annotated[bool, typer.Option("--live", help="Call the real provider; spends real money.")]
ModelOption = Annotated[str, typer.Option(help="Model of the attempts.")]
EscalationOption = Annotated[
    str, typer.Option(help="Model of the last attempt where no temperature is taken; '' for none.")
]
BudgetOption = Annotated[float, typer.Option(min=0, help="Hard limit in US dollars.")]
ConcurrencyOption = Annotated[int, typer.Option(min=1, max=MOST_CONCURRENCY, help="Calls in flight at most.")]
TemperatureOption = Annotated[
    bool | None, typer.Option(help="The endpoint takes a temperature (compatible servers). [by model]")
]
SandboxOption = Annotated[
    str | None, typer.Option(help="Isolation: bubblewrap, namespaces, restricted or none. [strongest]")
]
AddressOption = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to join; jobs have it. [a local one is started]")
]
