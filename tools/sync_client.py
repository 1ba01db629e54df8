"""Writes the blocking client from the asynchronous one, so that there is one text to keep. `--check` only compares."""  # noqa: INP001  # a script

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "mge_ray" / "client"
LOOP = re.compile(r"for (\w+) in ([\w.]+):\n\s+yield \1\n")
WORDS = (
    ("The asynchronous client", "The blocking client"),
    ("For asyncio; use it in an `async with` block.", "Blocking; use it in a `with` block."),
    (
        "import asyncio\nfrom collections.abc import AsyncIterator, Iterable, Mapping\n",
        "import time\nfrom collections.abc import Iterable, Iterator, Mapping\n",
    ),
    ("await asyncio.sleep", "time.sleep"),
    ("AsyncMgeRayClient", "MgeRayClient"),
    ("AsyncClient", "Client"),
    ("AsyncIterator", "Iterator"),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
    (".aclose()", ".close()"),
    (".aread()", ".read()"),
    ("async def ", "def "),
    ("async with ", "with "),
    ("async for ", "for "),
    ("(await self._send(calls.attempts(execution_id, atom_id)))", "self._send(calls.attempts(execution_id, atom_id))"),
    ("await ", ""),
)


def blocking(text: str) -> str:
    """Return the blocking client's source."""
    for before, after in WORDS:
        text = text.replace(before, after)
    text = LOOP.sub(r"yield from \2\n", text)
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=CLIENT,
    )
    return formatted.stdout


if __name__ == "__main__":
    written, made = CLIENT / "synchronous.py", blocking((CLIENT / "asynchronous.py").read_text("utf-8"))
    if "--check" in sys.argv[1:]:
        sys.exit(
            written.read_text("utf-8") != made and "mge_ray/client/synchronous.py is stale: python tools/sync_client.py"
        )
    written.write_text(made, "utf-8")
