"""What a model takes in a request: a temperature, an effort. False unless known.

Owns the lists; choosing temperature and effort is left to `domain.retry`, sending them to the client.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

PROVIDER_HOST = "api.anthropic.com"

_SAMPLING = frozenset(
    {"claude-opus-4-5", "claude-opus-4-6", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-haiku-4-5"}
)
"""The last models that take a temperature, with thinking off; every later one answers 400."""

_SUFFIX = re.compile(r"-(\d{8}|latest)$")
_VERSION = re.compile(r"^claude-[a-z]+-(?P<major>\d{1,2})(?:-(?P<minor>\d{1,2}))?$")
_FIRST_WITH_EFFORT = (4, 6)


def accepts_sampling(model: str, base_url_is_custom: bool) -> bool:  # noqa: FBT001 - a fact about the endpoint
    """Return whether `model` takes a temperature. On another provider's server only the user can know: false."""
    return not base_url_is_custom and _SUFFIX.sub("", model) in _SAMPLING


def accepts_effort(model: str) -> bool:
    """Return whether `model` takes `output_config.effort`: Claude 4.6 and later."""
    version = _VERSION.match(_SUFFIX.sub("", model))
    return version is not None and (int(version["major"]), int(version["minor"] or 0)) >= _FIRST_WITH_EFFORT


def is_custom(base_url: str | None) -> bool:
    """Return whether calls go elsewhere than to the provider; None means what ANTHROPIC_BASE_URL says."""
    url = base_url or os.environ.get("ANTHROPIC_BASE_URL")
    return url is not None and urlsplit(url).hostname != PROVIDER_HOST
