"""The host's side: starts a warm runner, hands it checks one at a time and reads what its supervisors reply."""

import json
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import BinaryIO

from typing_extensions import Self

from mge_ray.adapters.sandbox.inside.config import CheckConfig
from mge_ray.adapters.sandbox.inside.namespaces import WORKSPACE
from mge_ray.adapters.sandbox.model import CheckRequest, SandboxLevel, SandboxRecord, SandboxUnavailableError
from mge_ray.adapters.sandbox.precompiled import compiled_tests
from mge_ray.adapters.sandbox.record import BrokenIsolationError, Reply, parse_reply, read_record
from mge_ray.adapters.sandbox.warm_runner import RunnerGoneError, WarmRunner

_ASK_TRIES = 2


class Sandbox:
    """Runs candidate code and its tests; safe to share among threads, which take turns.

    Without a level the strongest one that withstands a canary attack here is chosen; where none does,
    SandboxUnavailableError is raised. `SandboxLevel.NONE` must be asked for by name.
    """

    def __init__(self, level: SandboxLevel | None = None, *, python: str = sys.executable, warm: bool = True) -> None:
        if level is None:
            from mge_ray.adapters.sandbox.probe import probe_level  # noqa: PLC0415 - the probe runs sandboxes itself

            level = probe_level(python)
            if level is SandboxLevel.NONE:
                raise SandboxUnavailableError(
                    "no isolation withstands the canary attack on this machine: install bubblewrap or allow user "
                    "namespaces; to run generated code without isolation ask for SandboxLevel.NONE by name"
                )
        self.level = level
        self._python = python
        self._warm = warm
        self._compiles_ahead = (
            warm and python == sys.executable and level in {SandboxLevel.FULL, SandboxLevel.NAMESPACES}
        )
        self._lock = threading.Lock()
        self._runner: WarmRunner | None = None
        self._closed = False

    def check(self, request: CheckRequest) -> SandboxRecord:
        """Run one workspace; the verdict is data, whatever the candidate does.

        Raises SandboxUnavailableError when no runner can be started or isolated, never because of the candidate.
        """
        nonce = secrets.token_hex(16)
        started = time.monotonic()
        try:
            with self._lock:
                started = time.monotonic()
                reply = self._ask(request, nonce)
        except BrokenIsolationError as error:
            raise SandboxUnavailableError(f"a check could not be isolated at {self.level.value}: {error}") from error
        duration_s = time.monotonic() - started
        if reply is None:
            detail = "the runner died or hung over this check"
            return SandboxRecord("crashed", (), "", duration_s, detail)
        return read_record(reply, request, nonce, duration_s)

    def check_cold(self, request: CheckRequest) -> SandboxRecord:
        """Check in the same isolation around a Python that starts for this check alone; for benchmarks."""
        with Sandbox(self.level, python=self._python, warm=False) as cold:
            return cold.check(request)

    def start(self) -> None:
        """Start the runner now instead of with the first check."""
        with self._lock:
            self._living_runner()

    def close(self) -> None:
        """End the runner and everything below it; a check after this raises SandboxUnavailableError."""
        with self._lock:
            self._closed = True
            self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: CheckRequest, nonce: str) -> Reply | None:
        limits = request.limits
        compiled = compiled_tests(request.files, request.tests, WORKSPACE) if self._compiles_ahead else {}
        for _ in range(_ASK_TRIES):  # a runner killed between two checks costs no verdict
            runner = self._living_runner()
            figures = asdict(limits)
            figures["processes"] += runner.foreign_processes()
            check = CheckConfig(nonce=nonce, **figures)
            asked = time.monotonic()
            try:
                with _request_file(request, compiled) as file:
                    data = runner.ask(check, file.fileno())
            except RunnerGoneError:
                self._discard()
                continue
            reply = parse_reply(data)
            if reply is not None:
                return reply
            self._discard()
            if time.monotonic() > asked + limits.wall_s:  # hung, not killed
                break
        return None

    def _living_runner(self) -> WarmRunner:
        if self._closed:
            raise SandboxUnavailableError("this sandbox is closed")
        if self._runner is not None and not self._runner.is_usable():
            self._discard()
        if self._runner is None:
            self._runner = WarmRunner(self.level, python=self._python, warm=self._warm)
        return self._runner

    def _discard(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def _request_file(request: CheckRequest, compiled: Mapping[str, str]) -> BinaryIO:
    """Return an unnamed file with the workspace, positioned at its start; the runner only passes it on."""
    wanted = {
        "files": dict(request.files),
        "tests": request.tests,
        "import_modules": request.import_modules,
        "compiled": dict(compiled),
        "trace": request.trace,
    }
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("request"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(json.dumps(wanted).encode())
    file.seek(0)
    return file
