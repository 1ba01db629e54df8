"""Answers that are JSON documents, as planning steps have them, and wrong versions of them.

The wrong ones are what a model plausibly gets wrong: a key is missing, a name is one that there is not, a key is
invented. Whoever reads the documents by their form and their references notices each.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

_INVENTED = "R9999"
_REFERRING = ("depends_on", "covers", "requirements")


def document_of(text: str) -> dict[str, Any] | None:
    """Return the JSON object in `text`, or None where it holds something else, such as code."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def wrong_documents(document: dict[str, Any]) -> tuple[str, ...]:
    """Return wrong versions of a document, each with one change; at least one."""
    return tuple(json.dumps(changed, indent=1) for changed in _changes(document))


def _changes(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = [key for key, value in document.items() if isinstance(value, list) and value]
    for key in lists:
        first = document[key][0]
        if isinstance(first, dict) and first:
            yield {name: value for name, value in document.items() if name != key}
            changed = copy.deepcopy(document)
            del changed[key][0][next(iter(first))]
            yield changed
            yield from _with_unknown(document, key)
    yield {**document, "comment": "This is the complete plan."}


def _with_unknown(document: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """Yield the document with an unknown name among the first references of one of its lists."""
    for number, item in enumerate(document[key]):
        references = _references(item)
        if references:
            changed = copy.deepcopy(document)
            changed[key][number][references].append(_INVENTED)
            yield changed
            return


def _references(item: object) -> str:
    """Return the key under which the item refers to others by name, if it does."""
    if not isinstance(item, dict):
        return ""
    return next((key for key in _REFERRING if isinstance(item.get(key), list) and item[key]), "")
