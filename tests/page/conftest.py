"""One real service for all of a module's tests, and Chromium looking at it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from mge_ray.adapters.journal import create_token, default_url
from mge_ray.domain.access import Role
from tests.api.service import API, serve_program
from tests.page.plans import ANSWERS, WRONG_ANSWERS

PATIENCE_S = 120.0
expect.set_options(timeout=20_000)


@dataclass
class Service:
    """Where it is, its journal, and the token that it made for whoever started it."""

    url: str
    token: str
    journal: str

    def token_of(self, role: Role) -> str:
        """Return another token for the same executions; it is named after its role."""
        return create_token(self.journal, tenant="", role=role, by="a test", name=f"the {role.value}")[0]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's JSON; raise for a refusal."""
        answer = httpx2.request(
            method, self.url + API + path, json=body, headers={"Authorization": f"Bearer {self.token}"}, timeout=60
        )
        answer.raise_for_status()
        return answer.json()

    def start(self, body: dict[str, Any]) -> str:
        """Start an execution and return its id."""
        return str(self.call("POST", "/start", body)["execution_id"])

    def ended(self, execution_id: str) -> dict[str, Any]:
        """Wait for the execution's end and return how it stands then."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            state: dict[str, Any] = self.call("GET", f"/{execution_id}")
            if state["status"] not in {"pending", "running"}:
                return state
            time.sleep(0.2)
        raise AssertionError(f"{execution_id} did not end in {PATIENCE_S:.0f} s")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return Debian's Chromium; without one there is nothing to look with."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def browser(chromium) -> Iterator[Browser]:
    """Yield a browser for one module: while it is there, Playwright's loop runs and no test can have one of its own."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory, chromium) -> Iterator[Service]:
    """Yield a service in a folder, on a port and on a Ray of its own; it ends when it is told to, by its id."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "answers.json").write_text(json.dumps(ANSWERS))
    (folder / "wrong.json").write_text(json.dumps(WRONG_ANSWERS))
    options = ("--replicas=1", "--answers=answers.json", "--wrong-answers=wrong.json", "--fault=wrong=0.25", "--seed=5")
    with serve_program(folder, *options, "--latency=lognormal:0.7:0.3") as running:
        first = (folder / ".mge" / "first-token").read_text().strip()
        yield Service(running.url, first, default_url(folder))


@pytest.fixture
def look(browser, service) -> Iterator[Callable[..., Page]]:
    """Open a tab on an address of the page, with the first token, another one, or (empty) none.

    What a page complains about or asks other origins for fails the test; but the browser itself reports each refused
    request as an error, so a test says which status it has `refused`.
    """
    pages: list[Page] = []
    complaints: list[str] = []

    def open_tab(
        fragment: str = "", *, path: str = "/", token: str | None = None, refused: int = 0, **options: Any
    ) -> Page:
        token = service.token if token is None else token
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        if token:
            context.add_init_script(f"sessionStorage.setItem('mge_ray.token', {json.dumps(token)})")

        def said(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and f"status of {refused} " not in message.text:
                complaints.append(message.text)

        def asked(request: Request) -> None:
            if not request.url.startswith((service.url, "blob:")):
                complaints.append(f"asked for {request.url}")

        page = context.new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.goto(f"{service.url}{path}{fragment}")
        pages.append(page)
        return page

    yield open_tab
    for page in pages:
        page.context.close()
    assert complaints == []
