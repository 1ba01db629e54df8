"""Loaded by schemathesis: addresses beyond what Serve's HTTP parser takes (64 KiB) never reach the service."""

from __future__ import annotations

from urllib.parse import urlencode

import schemathesis

MOST_CHARS = 60_000


@schemathesis.hook
def filter_query(context, query):
    return len(urlencode(query or {}, doseq=True)) < MOST_CHARS
