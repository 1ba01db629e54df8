"""The live page and the API's page: static files of the package, served with a policy that lets nothing else in."""

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
PAGES = {"/": "index.html", "/docs": "docs.html"}


def add_page(app: FastAPI, *, asks_for_token: bool) -> None:
    """Serve the live page at `/`, the API's page at `/docs`, and their parts below `/page`."""
    folder = files("mge_ray.api") / "static"
    parts = {part.name: part.read_bytes() for part in folder.iterdir() if part.name.endswith(tuple(TYPES))}

    def add(path: str, text: str) -> None:
        @app.get(path, include_in_schema=False)
        async def page() -> HTMLResponse:
            return HTMLResponse(text, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    for path, name in PAGES.items():
        text = (folder / name).read_text("utf-8")
        asks = f"data-asks-for-token={json.dumps(json.dumps(asks_for_token))}"
        add(path, text.replace('data-asks-for-token=""', asks))

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in parts:
            raise ProblemError(404, "unknown", "no such part of the page")
        kind = TYPES["." + name.rpartition(".")[2]]
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        return Response(parts[name], media_type=kind, headers=headers)
