"""`mge-ray monitoring`: files for Prometheus and Grafana, made from the metrics that this version exposes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mge_ray.adapters.monitoring.files import TARGET, monitoring_files
from mge_ray.domain.errors import MgeRayError


class MonitoringError(MgeRayError):
    """Files that cannot be written as asked."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("monitoring")
    def monitoring(
        out: Annotated[Path, typer.Option(help="Folder for the files; those of the same names are replaced.")],
        target: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where /metrics is served.")] = TARGET,
    ) -> None:
        """Write a Prometheus configuration, alert rules and a Grafana dashboard."""
        host, _, port = target.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise MonitoringError(f"--target is HOST:PORT, got {target!r}")
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, content in monitoring_files(target).items():
                (out / name).write_text(content)
                typer.echo(str(out / name))
        except OSError as error:
            raise MonitoringError(f"{out} cannot be written: {error.strerror}") from None
