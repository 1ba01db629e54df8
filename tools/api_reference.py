"""Writes docs/api.md from the app's OpenAPI document; `--check` says whether it is stale."""  # noqa: INP001  # a script

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from mge_ray.api.app import create_app
from mge_ray.api.document import MEANINGS
from mge_ray.api.problems import STATUSES
from mge_ray.api.schemas import EXAMPLE_START

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """# The HTTP API

<!-- written by `python tools/api_reference.py`; a test compares it with the service -->

`mge-ray serve` answers at `/api/v2/execution`. The running service shows the same at `/docs`, and the document
itself at `/openapi.json`. The examples below work when they are pasted in this order into a shell, after this:

```sh setup
cat > answers.json <<'JSON'
{answers}
JSON
mge-ray serve --simulate --answers answers.json --latency fixed:5 &   # wait until it says where it serves
URL=http://127.0.0.1:8000
TOKEN=$(cat .mge/first-token)
```

Tokens go into `Authorization: Bearer TOKEN`; `mge-ray token create` makes others, for a tenant and a role. A
`viewer` reads, an `operator` also starts and steers, an `admin` also sets budgets. Somebody else's execution is a
404, as one that does not exist.

Give each start an `Idempotency-Key`: the same key and body are the same execution, however often and to whichever
replica they are sent, so a start that got no answer can be sent again. A client that goes away does not undo a
start. (Where Serve's own proxy stands in front instead of HAProxy, it drops a request whose client leaves within
milliseconds, unless that says `X-Request-Disconnect-Disabled: ?1`, as the typed client does.)

## Errors

Every error is `application/problem+json`: `type` names the problem (the last part of it is below), `title` is that
in words, `status` the code, `detail` says what is wrong and what to do, `errors` places in the request (422 only).

| code | meaning |
|---|---|
{meanings}

| problem | code |
|---|---|
{names}

## Bounds

A body has at most 32 MiB (`mge-ray serve --max-body`); a token may ask 200 times a second of each replica, in
bursts of 400; an address may try 30 unknown tokens a minute; a replica has at most 500 open streams. A revoked
token works for up to 5 more seconds.
"""
ANSWERS = {
    "double": "def double(amount: int) -> int:\n    return 2 * amount\n",
    "total": "def total(amounts: list[int]) -> int:\n    return sum(double(one) for one in amounts)\n",
}
OWN_NAMES = {
    "unauthorized": 401,
    "forbidden": 403,
    "key-used": 409,
    "too-large": 413,
    "bad-json": 400,
    "bad-cursor": 400,
    "bad-event-id": 400,
    "invalid-request": 422,
    "too-many-requests": 429,
    "too-many-streams": 429,
}
BODIES = {
    "pause": {"reason": "lunch"},
    "cancel": {"reason": "no longer wanted"},
    "retry": {},
    "concurrency": {"limit": 20},
    "budget": {"limit_usd": 10, "reason": "it is worth it"},
    "edit": {"code": "def double(amount: int) -> int:\n    return amount + amount\n"},
    "approve": {"note": "I have read it"},
}
ORDER = ("start", "pause", "concurrency", "resume", "status", "budget", "approve", "edit", "retry", "cancel")
WIDTH = 110


def reference() -> str:
    """Return the page as it should be."""
    app = create_app(None, None, tokens=_NoTokens(), version="-")  # type: ignore[arg-type]  # nothing is asked of them
    document = app.openapi()
    names = OWN_NAMES | {name: status for _, status, name in STATUSES}
    head = HEAD.format(
        answers=json.dumps(ANSWERS),
        meanings="\n".join(f"| {status} | {meaning} |" for status, meaning in MEANINGS.items()),
        names="\n".join(f"| `{name}` | {status} |" for name, status in sorted(names.items())),
    )
    found = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    found.sort(key=lambda one: _place(one[0]))  # stable: otherwise as the app has them
    return head + "".join(_operation(document, *one) for one in found)


def _place(path: str) -> int:
    verb = path.rpartition("/")[2]
    return ORDER.index(verb) if verb in ORDER else ORDER.index("status")


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [f"\n## {method.upper()} {path}\n\n{textwrap.fill(_prose(operation), WIDTH + 15)}\n"]
    given = [one for one in operation.get("parameters", []) if one["in"] != "path"]
    if given:
        rows = "\n".join(f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} |" for one in given)
        parts.append(f"\n| parameter | in | what |\n|---|---|---|\n{rows}\n")
    body = _body(document, operation)
    if body:
        rows = "\n".join(
            f"| `{name}` | {_type(field)} | {'yes' if name in body.get('required', ()) else 'no'} |"
            for name, field in body["properties"].items()
        )
        parts.append(f"\n| field of the body | what | needed |\n|---|---|---|\n{rows}\n")
    codes = ", ".join(f"{code}{_content(answer)}" for code, answer in operation["responses"].items())
    parts.append(f"\nAnswers: {codes}.\n\n```sh\n{_curl(path, method)}\n```\n")
    return "".join(parts)


def _prose(operation: dict[str, Any]) -> str:
    return " ".join(operation.get("description", operation["summary"]).split())


def _body(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    if "requestBody" not in operation:
        return None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    schema = next((one for one in schema.get("anyOf", [schema]) if "$ref" in one), schema)
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        kinds = [_type(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds)) + _default(schema)
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2] + _default(schema)
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    bounds = [
        f"{words} {schema[key]:,}" if isinstance(schema[key], int | float) else f"{words} {schema[key]}"
        for key, words in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "up to"),
            ("maxLength", "at most"),
            ("maxItems", "at most"),
        )
        if key in schema
    ]
    return ", ".join([kind, *bounds]) + _default(schema)


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, "", [], {}) or isinstance(default, dict) else f"; {json.dumps(default)}"


def _content(answer: dict[str, Any]) -> str:
    kinds = [kind for kind in answer.get("content", {}) if kind not in {"application/json", "application/problem+json"}]
    return f" ({', '.join(f'`{kind}`' for kind in kinds)})" if kinds else ""


def _curl(path: str, method: str) -> str:
    where = path.replace("{execution_id}", "$EXECUTION").replace("{atom_id}", "double").replace("{wave_id}", "1")
    verb = path.rpartition("/")[2]
    command = f'curl -sS "$URL{where}"'
    if path not in {"/healthz", "/readyz"}:
        command += ' -H "Authorization: Bearer $TOKEN"'
    if verb == "start":
        body = json.dumps(EXAMPLE_START, indent=1)
        command += f" -H 'Idempotency-Key: my-first' -H 'Content-Type: application/json' -d '{body}'"
        return f'EXECUTION=$({command} | sed \'s/.*execution_id":"\\([^"]*\\).*/\\1/\')\necho $EXECUTION'
    if verb == "events":
        return f"{command}\n{command} -N -H 'Accept: text/event-stream' -H 'Last-Event-ID: 3'"
    if verb == "output":
        return f"{command} -o project.zip"
    if method == "post":
        command += " -X POST"
        if verb in BODIES:
            command += f" -H 'Content-Type: application/json' -d '{json.dumps(BODIES[verb])}'"
    return command


class _NoTokens:
    async def caller(self, token: str) -> None:
        """Return nobody."""


def main() -> int:
    """Write the page, or with `--check` compare it: 1 if it is stale."""
    page = reference()
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != page:
        sys.stderr.write(f"{PAGE.name} is stale: run `python tools/api_reference.py`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
