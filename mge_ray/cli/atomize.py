"""`mge-ray atomize`: an existing package becomes a plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import typer

from mge_ray.adapters.suite import (
    ImportFailure,
    SuiteError,
    SuiteRecord,
    import_package,
    run_suite,
    tried_in_sandbox,
    watch_suite,
)
from mge_ray.pipeline.atomize import Atomized, AtomizeError, Observations, Options, ProjectTree, atomize, read_project
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
        everything: bool = typer.Option(False, "--all", help="Make atoms of what no test runs, too."),
        allow_failing: bool = typer.Option(False, "--allow-failing", help="Leave out tests that fail already."),
        keep_weak: bool = typer.Option(
            False, "--keep-weak", help="Keep in the skeleton what is only tested together with what rests on it."
        ),
        timeout: float = typer.Option(600.0, min=1.0, help="Seconds the test suite may take."),
        check_timeout: float = typer.Option(30.0, min=1.0, max=3600.0, help="Seconds an atom's tests may take."),
    ) -> None:
        """Make a plan of an existing package. Runs its test suite, as you, in a copy."""
        if tests is None and not no_tests:
            raise AtomizeError("no tests are named; name them with --tests, or say --no-tests to go without")
        if everything and keep_weak:
            raise AtomizeError("--all and --keep-weak contradict each other; leave one out")
        tree = read_project(package, None if no_tests else tests, include or ())
        read_package(tree)
        seen = _observe(tree, timeout, check_timeout, allow_failing=allow_failing)
        options = Options(timeout_s=check_timeout, everything=everything, judged=keep_weak)
        made = _with_importable_skeleton(seen.tree, seen.observed, timeout, options)
        _write(out, dump_plan(made.plan))
        if answers is not None:
            _write(answers, json.dumps(dict(made.answers), indent=1) + "\n")
        typer.echo("\n".join([summary(made, seen.tree), *seen.notes]))


@dataclass
class _Seen:
    """The project as it is run, what was seen, and lines for the summary."""

    tree: ProjectTree
    observed: Observations
    notes: list[str] = field(default_factory=list)


def _observe(tree: ProjectTree, timeout_s: float, check_s: float, *, allow_failing: bool) -> _Seen:
    entered, failures = import_package(
        tree, tree.files, [module_name(path) for path in tree.modules], timeout_s=timeout_s
    )
    fatal = [one for one in failures if not _optional(one)]
    if fatal:
        raise AtomizeError(_does_not_import(tree, fatal[0]))
    if tree.tests is None:
        return _Seen(tree, Observations(entered))
    used, record = _run(tree, timeout_s)
    _check(used, record, allow_failing=allow_failing)
    kept_tests, refused = tried_in_sandbox(used, record.tests, wall_s=check_s)
    if not any(one.outcome == "passed" for one in kept_tests):
        raise AtomizeError(f"{used.tests}: no test passes in the sandbox; `mge-ray doctor` says what it can do here")
    broken = tuple(ids for ids, _ in record.uncollected)
    observed = watch_suite(used, Observations(entered, kept_tests, {}, broken), timeout_s=timeout_s)
    seen = _Seen(used, observed)
    if refused:
        seen.notes.append(f"{'sandbox':12}{len(refused)} tests pass here but not there; left out ({_named(refused)})")
    if tree.configured:
        done = "are carried in pytest.ini" if used.configured else "are left out: more tests pass without"
        seen.notes.append(f"{'pytest':12}the project's own options {done}")
    return seen


def _run(tree: ProjectTree, timeout_s: float) -> tuple[ProjectTree, SuiteRecord]:
    """Run the suite with the project's pytest options, and where anything fails, without; return what passes more."""
    if not tree.configured:
        return tree, run_suite(tree, timeout_s=timeout_s)
    plain = tree.unconfigured()
    try:
        record = run_suite(tree, timeout_s=timeout_s)
    except SuiteError:
        return plain, run_suite(plain, timeout_s=timeout_s)
    if record.tests and not record.uncollected and not any(one.outcome == "failed" for one in record.tests):
        return tree, record
    other = run_suite(plain, timeout_s=timeout_s)
    return (plain, other) if other.passing > record.passing else (tree, record)


def _check(tree: ProjectTree, record: SuiteRecord, *, allow_failing: bool) -> None:
    """Raise AtomizeError where the suite as it is says too little."""
    if not record.tests and not record.uncollected:
        raise AtomizeError(f"{tree.tests}: holds no test that pytest finds; name another folder, or say --no-tests")
    failing = [one.node_id for one in record.tests if one.outcome == "failed"]
    broken = [f"{node_id} ({error})" for node_id, error in record.uncollected]
    if (failing or broken) and not allow_failing:
        raise AtomizeError(
            f"{len(failing) + len(broken)} of the tests fail already: {_named([*broken, *failing])}; "
            "mend them, give what they need with --include, or leave them out with --allow-failing"
        )
    if not record.passing:
        raise AtomizeError(
            f"{tree.tests}: no test passes{': ' + broken[0] if broken else ''}; say --no-tests to go without"
        )


def _optional(failure: ImportFailure) -> bool:
    """Return whether the package can be imported without the module: another platform's, or in want of a library."""
    return "." in failure.module


def _does_not_import(tree: ProjectTree, failure: ImportFailure) -> str:
    compiled = f"; it has C extensions ({_named(tree.compiled)}), which a plan cannot hold" if tree.compiled else ""
    advice = f"install {failure.missing!r} beside mge-ray" if failure.missing else "make it import first"
    where = f" ({failure.entry.path})" if failure.entry.path else ""
    return f"{failure.module} cannot be imported{where}: {failure.error}{compiled}; {advice}, or atomize a part of it"


def _with_importable_skeleton(
    tree: ProjectTree, observed: Observations, timeout_s: float, options: Options
) -> Atomized:
    """Make the plan and import its skeleton; a stub that is called meanwhile is kept in the next round."""
    modules = [module_name(path) for path in tree.modules]
    _, before = import_package(tree, tree.files, modules, timeout_s=timeout_s)
    known = {one.module for one in before}
    for _ in range(MOST_ROUNDS):
        made = atomize(tree, observed, options)
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
