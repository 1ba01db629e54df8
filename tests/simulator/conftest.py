import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, DefaultAioHttpClient, DefaultAsyncHttpxClient
from anthropic.types import Message

from mge_ray.simulator import SimulatorConfig, running

TLS = ssl.create_default_context()
"""Shared because making one takes 35 ms, and no test needs any."""

ANSWERS = {
    "cart.total": 'def total(prices: list[int]) -> int:\n    """Add up."""\n    return sum(prices)\n',
    "cart.count": "def count(items: list[str]) -> int:\n    return len(items)\n",
    "tax": "RATE = 3\n\n\ndef tax(amount: int) -> int:\n    return amount * RATE // 100\n",
}


@dataclass
class Running:
    """A simulator that listens, and a client for it."""

    url: str
    client: AsyncAnthropic

    def get(self, path: str) -> Any:
        return httpx2.get(f"{self.url}{path}", verify=TLS).json()

    def stats(self) -> Any:
        return self.get("/stats")

    async def until(self, **counts: int) -> None:
        """Waits for counts to appear in the statistics; the server has no other way of telling."""
        for _ in range(500):
            stats = self.stats()
            if all(stats[name] == count for name, count in counts.items()):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{counts} did not come true: {self.stats()}")

    async def ask(self, atom_id: str = "cart.total", prompt: str = "Write it.", **options: Any) -> Message:
        arguments: dict[str, Any] = {
            "model": "claude-sonnet-5-5",
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": f"{prompt}\nAtom: {atom_id}\n"}],
        }
        return await self.client.messages.create(**{**arguments, **options})

    async def stream(self, atom_id: str = "cart.total") -> Message:
        async with self.client.messages.stream(
            model="claude-sonnet-5-5", max_tokens=1000, messages=[{"role": "user", "content": f"Atom: {atom_id}"}]
        ) as stream:
            return await stream.get_final_message()

    def post(self, body: Any, **headers: str) -> httpx2.Response:
        named = {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.post(f"{self.url}/v1/messages", content=content, headers=named, verify=TLS)


@pytest.fixture
def answers_file(tmp_path: Path) -> Path:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(ANSWERS))
    return path


@pytest.fixture
async def start(answers_file: Path) -> AsyncIterator[Callable[..., Running]]:
    """Builds simulators that know ANSWERS, with the given flags."""
    with ExitStack() as servers:
        async with AsyncExitStack() as clients:

            def _start(*, aiohttp: bool = False, **flags: Any) -> Running:
                url, _ = servers.enter_context(running(SimulatorConfig(**{"answers": answers_file, **flags})))
                transport = DefaultAioHttpClient() if aiohttp else DefaultAsyncHttpxClient(verify=TLS)
                client = AsyncAnthropic(base_url=url, api_key="k", max_retries=0, timeout=10, http_client=transport)
                clients.push_async_callback(client.close)
                return Running(url, client)

            yield _start


@pytest.fixture
def minimal() -> dict[str, Any]:
    """The smallest valid request body."""
    return {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Atom: cart.total"}],
    }


@pytest.fixture
def plain_server() -> Iterator[str]:
    """A simulator without answers, for what concerns no answer."""
    with running(SimulatorConfig()) as (url, _):
        yield url
