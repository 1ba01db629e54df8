"""The live page: static files of the package, served with a policy that lets nothing else in."""

from __future__ import annotations

import json
from importlib.resources import files

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from mge_ray.api.problems import ProblemError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def add_page(app: FastAPI, *, asks_for_token: bool) -> None:
    """Serve the page at `/` and its parts below `/page`."""
    folder = files("mge_ray.api") / "static"
    parts = {part.name: part.read_bytes() for part in folder.iterdir() if part.name.endswith(tuple(TYPES))}
    page = (folder / "index.html").read_text("utf-8")
    page = page.replace('data-asks-for-token=""', f"data-asks-for-token={json.dumps(json.dumps(asks_for_token))}")

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in parts:
            raise ProblemError(404, "unknown", "no such part of the page")
        kind = TYPES["." + name.rpartition(".")[2]]
        return Response(parts[name], media_type=kind, headers={"Cache-Control": "no-cache"})
