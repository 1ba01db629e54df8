"""Requests and responses of the Messages API, as JSON.

Owns validation, the error body, the message body and the byte-based token estimate. Knows nothing about faults.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.pricing import known_model
from mge_ray.simulator.promptcache import InputUsage, Prefix

API_VERSION = "2026-10-21"
SAMPLING_VERSION = "2023-06-01"
SAMPLING = ("temperature", "top_p", "top_k")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
MAX_CACHE_MARKS = 4
BYTES_PER_TOKEN = 4

_PARAMETERS = frozenset(
    {
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user_profile_id",
        "workspace_id",
    }
)
_ATOM_LINE = re.compile(r"^Atom:[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)

Block = tuple[str, bytes, bool]
"""Role, bytes and whether a cache mark follows."""


class ApiError(Exception):
    """A refusal as the client sees it."""

    def __init__(
        self, status: int, kind: str, message: str, *, code: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s


def invalid(message: str) -> ApiError:
    """Make a 400 of the ordinary kind."""
    return ApiError(400, "invalid_request_error", message)


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A valid request, reduced to what the simulator looks at; `atom_id` is empty where the prompt names none."""

    model: str
    max_tokens: int
    stream: bool
    atom_id: str
    input_tokens: int
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says; a refusal says nothing."""

    text: str
    stop_reason: str

    @property
    def output_tokens(self) -> int:
        """At least one, as the provider bills it."""
        return tokens_of(self.text)


def tokens_of(text: str) -> int:
    """About four bytes make a token; nothing makes one too."""
    return max(1, math.ceil(_size(text) / BYTES_PER_TOKEN))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def check_headers(headers: Mapping[bytes, bytes]) -> str:
    """Find the API version. Raises ApiError 401 without a key, 400 for a version that does not exist."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if not (scheme.lower() == b"bearer" and token.strip()) and not headers.get(b"x-api-key", b"").strip():
        raise ApiError(401, "authentication_error", "Authorization: Bearer <key> is required")
    version = headers.get(b"anthropic-version", b"").decode("latin-1")
    if not version:
        raise invalid("anthropic-version: header is required")
    if version not in {API_VERSION, SAMPLING_VERSION}:
        raise invalid(f"anthropic-version: {version!r} is not a valid version")
    return version


def parse_request(body: bytes, version: str, config: SimulatorConfig) -> MessageRequest:
    """Check everything the provider checks. Raises ApiError with the parameter's name in its message."""
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise invalid("The request body is not a JSON object")
    for name in data.keys() - _PARAMETERS:
        raise invalid(f"{name}: Extra inputs are not permitted")
    model = _check_model(data, config)
    _check_options(data)
    _check_sampling(data, version, model)
    blocks = _system_blocks(data.get("system")) + _message_blocks(data.get("messages"))
    if data.get("cache_control") is not None:
        _check_cache_control(data["cache_control"], "cache_control")
        blocks[-1] = (*blocks[-1][:2], True)
    if sum(marked for _, _, marked in blocks) > MAX_CACHE_MARKS:
        raise invalid(f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided")
    return MessageRequest(
        model=model,
        max_tokens=data["max_tokens"],
        stream=bool(data.get("stream")),
        atom_id=atom_of(data["messages"][-1]["content"]),
        input_tokens=max(1, math.ceil(sum(len(content) for _, content, _ in blocks) / BYTES_PER_TOKEN)),
        prefixes=_prefixes(model, blocks),
    )


def atom_of(content: str | list[dict[str, Any]]) -> str:
    """Find the id on the last line `Atom: <id>` of a message, or nothing."""
    text = content if isinstance(content, str) else "\n".join(str(block.get("text", "")) for block in content)
    start = text.rfind("Atom:")
    while start >= 0:
        if start == 0 or text[start - 1] == "\n":
            match = _ATOM_LINE.match(text, start)
            if match:
                return match[1]
        start = text.rfind("Atom:", 0, start)
    return ""


def _check_model(data: dict[str, Any], config: SimulatorConfig) -> str:
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("model: Field required")
    if model not in config.models if config.models else not model.startswith("claude-"):
        raise ApiError(404, "not_found_error", f"model: {model}")
    return model


def _check_options(data: dict[str, Any]) -> None:
    max_tokens = data.get("max_tokens")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise invalid("max_tokens: Field required, a positive integer")
    if max_tokens < 1:
        raise invalid(f"max_tokens: {max_tokens} is not greater than 0")
    if not isinstance(data.get("stream", False), bool):
        raise invalid("stream: Input should be a valid boolean")
    output_config = data.get("output_config") or {}
    if not isinstance(output_config, dict):
        raise invalid("output_config: Input should be an object")
    effort = output_config.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise invalid(f"output_config.effort: {effort!r} is not one of {', '.join(EFFORTS)}")


def _check_sampling(data: dict[str, Any], version: str, model: str) -> None:
    for name in SAMPLING:
        if data.get(name) is None:
            continue
        if version != SAMPLING_VERSION:
            raise invalid(f"{name}: sampling parameters are not supported in version {version}")
        known = known_model(model)
        if known is None or not known.takes_sampling:
            raise invalid(f"{name}: not supported by {model}")
        thinking = data.get("thinking")
        if isinstance(thinking, dict) and thinking.get("type") != "disabled":
            raise invalid(f"{name}: may not be set while thinking is on")
        if not isinstance(data[name], int | float):
            raise invalid(f"{name}: Input should be a valid number")


def _check_cache_control(mark: object, where: str) -> bool:
    if mark is None:
        return False
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in ("5m", "1h"):
        raise invalid(f"{where}: Input should be {{'type': 'ephemeral'}}, with ttl 5m or 1h")
    return True


def _system_blocks(system: object) -> list[Block]:
    if system is None:
        return []
    if isinstance(system, list) and any(isinstance(block, dict) and block.get("type") != "text" for block in system):
        raise invalid("system: every block has type text")
    return _content_blocks(system, "system", "system")


def _message_blocks(messages: object) -> list[Block]:
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    blocks: list[Block] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        found = _content_blocks(message.get("content"), f"{where}.content", message["role"])
        if not found:
            raise invalid(f"{where}.content: a message has at least one block")
        blocks += found
    if messages[-1]["role"] != "user":
        raise invalid("messages: the last message must have the role user; prefill is not supported")
    return blocks


def _content_blocks(content: object, where: str, role: str) -> list[Block]:
    if isinstance(content, str):
        if not content and role != "system":
            raise invalid(f"{where}: text content must be non-empty")
        return [(role, content.encode(errors="surrogatepass"), False)]
    if not isinstance(content, list):
        raise invalid(f"{where}: Input should be a string or a list of blocks")
    blocks: list[Block] = []
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid(f"{where}.{index}.type: Field required")
        marked = _check_cache_control(block.get("cache_control"), f"{where}.{index}.cache_control")
        if block["type"] != "text":
            blocks.append((role, json.dumps(block, sort_keys=True).encode(), marked))
            continue
        text = block.get("text")
        if not isinstance(text, str) or not text:
            raise invalid(f"{where}.{index}.text: text content must be a non-empty string")
        blocks.append((role, text.encode(errors="surrogatepass"), marked))
    return blocks


def _prefixes(model: str, blocks: list[Block]) -> tuple[Prefix, ...]:
    marks = [index for index, (_, _, marked) in enumerate(blocks) if marked]
    if not marks:
        return ()
    digest = blake2b(model.encode(), digest_size=16)
    found: list[Prefix] = []
    size = 0
    for role, content, marked in blocks[: marks[-1] + 1]:
        digest.update(b"\0%s %d\0" % (role.encode(), len(content)))
        digest.update(content)
        size += len(content)
        if marked:
            found.append(Prefix(digest.digest(), size // BYTES_PER_TOKEN))
    return tuple(found)


def usage_body(usage: InputUsage, output_tokens: int) -> dict[str, Any]:
    """Write the `usage` object; its input_tokens exclude the cached ones."""
    return {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def stop_details(reply: Reply) -> dict[str, Any] | None:
    """Write what accompanies a refusal; nothing otherwise."""
    if reply.stop_reason != "refusal":
        return None
    return {"type": "refusal", "category": None, "explanation": "The simulated model declines this request."}


def message_body(message_id: str, model: str, reply: Reply, usage: InputUsage) -> dict[str, Any]:
    """Write a whole message."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": reply.text}] if reply.text else [],
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
        "stop_details": stop_details(reply),
        "usage": usage_body(usage, reply.output_tokens),
    }


def error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    """Write the envelope all refusals share."""
    inner: dict[str, Any] = {"type": error.kind, "message": error.message}
    if error.code is not None:
        inner["details"] = {"error_code": error.code}
    return {"type": "error", "error": inner, "request_id": request_id}
