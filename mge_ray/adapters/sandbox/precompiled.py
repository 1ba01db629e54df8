"""Test modules compiled ahead: pytest's assertion rewriting is a third of a warm check, and the tests stay the same.

Only parsing and compiling happen here, once a text; nothing is run. The result goes into the sandbox as the bytecode
file that pytest looks for, so pytest itself is unchanged. Where that is not possible the sandbox compiles as usual.
"""

from __future__ import annotations

import ast
import base64
import marshal
from collections.abc import Mapping, Sequence
from functools import lru_cache

MAX_CHARS = 500_000
REMEMBERED = 512


def compiled_tests(files: Mapping[str, str], tests: Sequence[str], root: str) -> dict[str, str]:
    """Return base64 bytecode by path for the requested test files, as they will lie below `root`."""
    paths = dict.fromkeys(test.split("::", 1)[0] for test in tests)
    made = {path: _compiled(files[path], f"{root}/{path}") for path in paths if path in files and path.endswith(".py")}
    return {path: code for path, code in made.items() if code is not None}


@lru_cache(maxsize=REMEMBERED)
def _compiled(text: str, path: str) -> str | None:
    if len(text) > MAX_CHARS:
        return None
    from _pytest.assertion.rewrite import rewrite_asserts  # noqa: PLC0415  # what pytest's import hook calls

    source = text.encode(errors="surrogatepass")
    try:
        tree = ast.parse(source, filename=path)
        rewrite_asserts(tree, source, path, None)
        code = compile(tree, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return base64.b64encode(marshal.dumps(code)).decode()
