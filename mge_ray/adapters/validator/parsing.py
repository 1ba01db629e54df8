"""The parse level: the answer is Python at all.

Compiling hostile text in this process is safe only within bounds: CPython's parser and compiler recurse on the C stack,
and older versions do so unguarded. So size and nesting are bounded by a linear scan first. The scan counts operators
and brackets; it may refuse an absurdly long expression that would have compiled, never the reverse.
"""

from __future__ import annotations

import re
import warnings

from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.domain.validation import Level, Severity, ValidationIssue
from mge_ray.pipeline.code_layout import WARNINGS_LOCK, parse_quietly

MAX_CODE_CHARS = 200_000
MAX_NESTING = 300

_TOKEN = re.compile(
    r"""(?P<text>(?P<prefix>\b(?i:[rbuft]{1,2}))?
          (?:\'\'\'(?:[^'\\]|\\(?s:.)|'(?!''))*(?:\'\'\')?|\"\"\"(?:[^"\\]|\\(?s:.)|"(?!""))*(?:\"\"\")?
            |'(?:[^'\\\n]|\\(?s:.))*'?|"(?:[^"\\\n]|\\(?s:.))*"?))
      |(?P<skip>\#[^\n]*|\d[\w.]*|\\\n)
      |(?P<open>[\[({])|(?P<close>[\])}])|(?P<end>[;\n])|(?P<comma>,)
      |(?P<word>\b(?:if|elif|else|not|lambda|await|and|or|in|is|for|yield)\b)|(?P<signs>[.+\-*/%@&|^~<>=!:]+)
      |\w+|.""",
    re.VERBOSE,
)
_FIELD = re.compile(r"\{[^{}]*\}")


def check_parse(subject: Subject) -> list[ValidationIssue]:
    """Return what keeps the code from compiling, and the compiler's warnings; fill in `subject.tree`."""
    code = subject.candidate.code
    refusal = _refusal(code)
    if refusal:
        return [_critical(*refusal)]
    try:
        tree, _ = parse_quietly(code)
        caught = _compile(code)
    except SyntaxError as error:
        return [_critical("syntax", _explain(error), error.lineno)]
    except (RecursionError, MemoryError):
        return [_critical("nesting", "the code is nested too deeply to be compiled; split its longest expression")]
    except ValueError as error:
        return [_critical("syntax", f"the code cannot be compiled: {error}")]
    subject.tree = tree
    return [
        issue(Level.PARSE, message, rule="syntax-warning", line=line, severity=Severity.WARNING)
        for message, line in caught
    ]


def _refusal(code: str) -> tuple[str, str] | None:
    if len(code) > MAX_CODE_CHARS:
        return "size", f"the code has {len(code)} characters; {MAX_CODE_CHARS} is the most"
    if "\0" in code:
        return "syntax", "the code contains a NUL character"
    if not code.isascii() and any("\ud800" <= char <= "\udfff" for char in code):
        return "syntax", "the code contains half a surrogate pair, which is no character"
    if not code.strip():
        return "empty", "the answer contains no code"
    if nesting(code) > MAX_NESTING:
        return "nesting", f"the code nests more than {MAX_NESTING} levels; split its longest expression"
    return None


def nesting(code: str) -> int:
    """Return an upper bound of how deeply the syntax tree of `code` nests within one statement, in linear time.

    Every operator since the last comma or statement counts as a level, and so does every `elif`.
    """
    outer: list[int] = []  # levels reached outside each open bracket
    level = deepest = elifs = 0
    for match in _TOKEN.finditer(code):
        kind, text = match.lastgroup, match[0]
        if kind == "open":
            outer.append(level)
            level += 1
        elif kind == "close" and outer:
            level = outer.pop() + 1
        elif kind == "comma" or (kind == "end" and not outer):
            level = outer[-1] + 1 if outer else 0
        elif kind == "word":
            level += 1
            elifs += text == "elif"
        elif kind == "signs":
            level += len(text)
        elif kind == "text" and match["prefix"] and "{" in text:
            fields = max((len(field) for field in _FIELD.findall(text)), default=0)
            deepest = max(deepest, level + elifs + (_field_nesting(text) if fields > MAX_NESTING else 0))
        deepest = max(deepest, level + elifs)
    return deepest


def _field_nesting(text: str) -> int:
    """Return the same bound for the expressions inside an f-string, whose braces the scan passes over."""
    return max(sum(not char.isalnum() and char not in " _," for char in field) for field in _FIELD.findall(text))


def _compile(code: str) -> list[tuple[str, int | None]]:
    with WARNINGS_LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compile(code, "<candidate>", "exec", dont_inherit=True)
    return list(dict.fromkeys((str(warning.message), warning.lineno) for warning in caught))


def _critical(rule: str, message: str, line: int | None = None) -> ValidationIssue:
    return issue(Level.PARSE, message, rule=rule, line=line, severity=Severity.CRITICAL)


def _explain(error: SyntaxError) -> str:
    shown = (error.text or "").strip()[:120]
    return f"{error.msg}{f': {shown}' if shown else ''}"
