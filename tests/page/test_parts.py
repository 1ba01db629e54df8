"""How the pages are served: complete, from here alone, and with a policy that lets nothing else in."""

from __future__ import annotations

import re

import httpx2
import pytest
from fastapi import FastAPI

from mge_ray.api.page import add_page
from mge_ray.api.problems import install


@pytest.fixture
async def client():
    app = FastAPI(docs_url=None, redoc_url=None)
    install(app, retry_after_s=1)
    add_page(app, asks_for_token=True)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://here") as made:
        yield made


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_allows_nothing_inline_and_nothing_from_elsewhere(client, path):
    answer = await client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert 'data-asks-for-token="true"' in answer.text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?://", answer.text)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_every_part_that_a_page_names_is_served(client, path):
    seen, left = set(), re.findall(r'(?:src|href)="(/page/[^"]+)"', (await client.get(path)).text)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = await client.get(name)
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].split(";")[0] in {"text/javascript", "text/css", "image/svg+xml"}
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|@import", answer.text)
        left += [f"/page/{one}" for one in re.findall(r'from "\./([^"]+)"', answer.text)]
    assert len(seen) > 4


async def test_there_is_nothing_beside_the_parts(client):
    for name in ("index.html", "nothing.js", "..%2Fpage.py"):
        assert (await client.get(f"/page/{name}")).status_code == 404
