"""`mge-ray atomize`: an existing package becomes a plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from mge_ray.adapters.suite import SuiteError, import_package, run_suite
from mge_ray.adapters.suite.suite_run import ImportFailure
from mge_ray.pipeline.atomize import Atomized, AtomizeError, Observations, ProjectTree, atomize, read_project
from mge_ray.pipeline.atomize.definitions import module_name, read_package
from mge_ray.pipeline.atomize.summary import summary
from mge_ray.pipeline.plan_file import MAX_PLAN_BYTES, dump_plan

MOST_ROUNDS = 20
MOST_NAMED = 5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("atomize")
    def command(
        package: Path = typer.Argument(..., metavar="PACKAGE_DIR", help="Folder with an __init__.py, or one .py file."),
        tests: Path | None = typer.Option(None, help="The package's own tests: a folder or a file."),
        out: Path = typer.Option(..., help="Where the plan is written, as JSON."),
        answers: Path | None = typer.Option(None, help="Where the original code is written, for `run --simulate`."),
        include: list[Path] | None = typer.Option(
            None, help="A further file or folder the tests need; may be repeated."
        ),
        no_tests: bool = typer.Option(False, "--no-tests", help="Make a plan whose atoms no test judges."),
        allow_failing: bool = typer.Option(False, "--allow-failing", help="Leave out tests that fail already."),
        keep_weak: bool = typer.Option(False, "--keep-weak", help="Keep code that no test can judge in the skeleton."),
        timeout: float = typer.Option(600.0, min=1.0, help="Seconds the test suite may take."),
        check_timeout: float = typer.Option(30.0, min=1.0, max=3600.0, help="Seconds an atom's tests may take."),
    ) -> None:
        """Make a plan of an existing package. Runs its test suite once, as you, in a copy."""
        if tests is None and not no_tests:
            raise AtomizeError("no tests are named; name them with --tests, or say --no-tests to go without")
        tree = read_project(package, None if no_tests else tests, include or ())
        read_package(tree)
        observed = _observe(tree, timeout, allow_failing=allow_failing)
        made = _with_importable_skeleton(tree, observed, timeout, check_timeout, keep_weak=keep_weak)
        _write(out, dump_plan(made.plan))
        if answers is not None:
            _write(answers, json.dumps(dict(made.answers), indent=1) + "\n")
        typer.echo(summary(made, tree))


def _observe(tree: ProjectTree, timeout_s: float, *, allow_failing: bool) -> Observations:
    entered, failures = import_package(
        tree, tree.files, [module_name(path) for path in tree.modules], timeout_s=timeout_s
    )
    fatal = [one for one in failures if not _optional(one, tree)]
    if fatal:
        raise AtomizeError(_does_not_import(tree, fatal[0]))
    if tree.tests is None:
        return Observations(entered)
    record = run_suite(tree, timeout_s=timeout_s)
    if not record.tests and not record.uncollected:
        raise AtomizeError(f"{tree.tests}: holds no test that pytest finds; name another folder, or say --no-tests")
    failing = [one.node_id for one in record.tests if one.outcome == "failed"]
    broken = [f"{node_id} ({error})" for node_id, error in record.uncollected]
    if (failing or broken) and not allow_failing:
        raise AtomizeError(
            f"{len(failing) + len(broken)} of the tests fail already: {_named([*broken, *failing])}; "
            "mend them, give what they need with --include, or leave them out with --allow-failing"
        )
    if not any(one.outcome == "passed" for one in record.tests):
        raise AtomizeError(
            f"{tree.tests}: no test passes{': ' + broken[0] if broken else ''}; say --no-tests to go without"
        )
    broken_ids = tuple(ids for ids, _ in record.uncollected)
    return Observations(entered, record.tests, record.collected, broken_ids)


def _optional(failure: ImportFailure, tree: ProjectTree) -> bool:
    """Return whether a module only lacks a third-party package; the others can do without it."""
    top = module_name(tree.modules[0]).partition(".")[0]
    return failure.missing is not None and failure.missing.partition(".")[0] != top and "." in failure.module


def _does_not_import(tree: ProjectTree, failure: ImportFailure) -> str:
    compiled = f"; it has C extensions ({_named(tree.compiled)}), which a plan cannot hold" if tree.compiled else ""
    advice = f"install {failure.missing!r} beside mge-ray" if failure.missing else "make it import first"
    where = f" ({failure.entry.path})" if failure.entry.path else ""
    return f"{failure.module} cannot be imported{where}: {failure.error}{compiled}; {advice}, or atomize a part of it"


def _with_importable_skeleton(
    tree: ProjectTree, observed: Observations, timeout_s: float, check_s: float, *, keep_weak: bool
) -> Atomized:
    """Make the plan and import its skeleton; a stub that is called meanwhile is kept in the next round."""
    modules = [module_name(path) for path in tree.modules]
    _, before = import_package(tree, tree.files, modules, timeout_s=timeout_s)
    known = {one.module for one in before}
    for _ in range(MOST_ROUNDS):
        made = atomize(tree, observed, timeout_s=check_s, keep_weak=keep_weak)
        _, failures = import_package(tree, made.plan.files, modules, timeout_s=timeout_s)
        failures = tuple(one for one in failures if one.module not in known)
        if not failures:
            return made
        called = frozenset(one.entry for one in failures) - observed.entered_at_import
        if not called:
            break
        observed = replace(observed, entered_at_import=observed.entered_at_import | called)
    raise SuiteError(
        f"{tree.name}: its skeleton cannot be imported: {failures[0].module}: {failures[0].error} "
        f"({failures[0].entry.path}:{failures[0].entry.line}); leave that module out of the package"
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _write(path: Path, text: str) -> None:
    if len(text.encode()) > MAX_PLAN_BYTES:
        raise AtomizeError(f"{path}: would be larger than {MAX_PLAN_BYTES >> 20} MiB; leave data out of the tests")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise AtomizeError(f"{path}: cannot be written: {error.strerror or error}") from None
