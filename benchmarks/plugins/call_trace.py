"""A pytest plugin that writes who called whom inside one folder. Standard library alone; loaded by `edges`.

Calls come from `sys.setprofile`, in every thread: the caller is the frame below, so a function handed to `sorted` or
`map` is called by whoever called these. A generator's body starts when it is first asked for a value, by whom it was
handed to; its call is therefore noted where it is made, by a decorator that the folder's modules get when they are
imported. MGE_TRACE_ROOT is the folder, MGE_TRACE_OUT the file: JSON [[caller's file, line, callee's file, line, times,
handed in]] with the first lines of the functions; module level is line 0. A callee is handed in if every caller had it
among its own arguments.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.machinery
import inspect
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = os.environ["MGE_TRACE_ROOT"] + os.sep
NAME = "_mge_trace_generator"
SUSPENDED = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
CALLS: Counter[tuple[CodeType, CodeType]] = Counter()
CHOSEN: set[tuple[CodeType, CodeType]] = set()
_compile = importlib.machinery.SourceFileLoader.source_to_code


def on_event(frame: FrameType, event: str, _: object) -> None:
    """Note a call of one function of the folder by another."""
    if event != "call" or frame.f_code.co_flags & SUSPENDED or not frame.f_code.co_filename.startswith(ROOT):
        return
    below = frame.f_back
    if below is not None and below.f_code.co_filename.startswith(ROOT):
        _note(below, frame.f_code)


def note_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator function so that its callers are noted."""

    @functools.wraps(function)
    def noting(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  # whatever it takes and gives
        below = sys._getframe(1)  # noqa: SLF001  # there is no other way to the caller
        if below.f_code.co_filename.startswith(ROOT):
            _note(below, function.__code__)
        return function(*arguments, **named)

    return noting


def _note(below: FrameType, callee: CodeType) -> None:
    pair = (below.f_code, callee)
    CALLS[pair] += 1
    if pair not in CHOSEN and not _handed_in(below, callee):
        CHOSEN.add(pair)


def _handed_in(frame: FrameType, callee: CodeType) -> bool:
    code = frame.f_code
    flags = bool(code.co_flags & inspect.CO_VARARGS), bool(code.co_flags & inspect.CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + sum(flags)]
    values = [frame.f_locals.get(name) for name in names]
    values += [one for value in values if type(value) is tuple for one in value]
    return any(_code_of(one) is callee for one in values)


def _code_of(value: object) -> object:
    """Return the code that calling a value runs: a function's, or that of an object's `__call__`."""
    called = value if inspect.isfunction(value) else getattr(type(value), "__call__", None)  # noqa: B004
    return getattr(inspect.unwrap(called), "__code__", None) if inspect.isfunction(called) else None


class _Marker(ast.NodeTransformer):
    """Puts the decorator on generator functions, innermost; lines stay."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:  # ast's own names
        self.generic_visit(node)
        if _yields(node):
            node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node


def _yields(function: ast.FunctionDef) -> bool:
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    return False


def _marked(self: Any, data: Any, path: Any, **options: Any) -> Any:  # noqa: ANN401  # importlib's own signature
    if str(path).startswith(ROOT) and isinstance(data, bytes):
        data = ast.fix_missing_locations(_Marker().visit(ast.parse(data)))
    return _compile(self, data, path, **options)


def pytest_unconfigure() -> None:
    """Write what was seen."""
    sys.setprofile(None)
    rows = [[*map(_place, pair), times, pair not in CHOSEN] for pair, times in CALLS.items()]
    rows = [[*caller, *callee, times, handed_in] for caller, callee, times, handed_in in rows]
    Path(os.environ["MGE_TRACE_OUT"]).write_text(json.dumps(rows), encoding="utf-8")


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_filename.removeprefix(ROOT), 0 if code.co_name == "<module>" else code.co_firstlineno


setattr(builtins, NAME, note_generator)
importlib.machinery.SourceFileLoader.source_to_code = _marked  # type: ignore[method-assign]
threading.setprofile(on_event)
sys.setprofile(on_event)
