"""The bookkeeping example is what it says: a plan whose reference answers work, and whose wrong answers are wrong."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mge_ray.domain.atom import test_file as file_of
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.workspace import assemble
from mge_ray.simulator.mutations import destructive, mutants

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "bookkeeping"


@pytest.fixture(scope="module")
def plan():
    return load_plan(EXAMPLE / "plan.yaml")


@pytest.fixture(scope="module")
def answers():
    return json.loads((EXAMPLE / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wrong_answers():
    return json.loads((EXAMPLE / "wrong_answers.json").read_text(encoding="utf-8"))


def run(arguments, folder):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-B", "-m", *arguments],
        cwd=folder,
        env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_suite(files, folder, *arguments):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return run(["pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *arguments], folder)


def test_the_plan_is_wide_and_deep(plan):
    widths = [len(wave.atom_ids) for wave in plan.waves]
    assert len(plan.atoms) >= 60
    assert len(widths) >= 6
    assert max(widths) >= 12
    assert 8 <= len({atom.file for atom in plan.atoms}) <= 12


def test_every_atom_is_specified_and_tested(plan):
    for atom in plan.atoms:
        assert len(atom.description) > 80, atom.id
        assert atom.signature, atom.id
        assert atom.tests, atom.id
        for test in atom.tests:
            assert f"class {test.partition('::')[2]}:" in plan.files[file_of(test)], test


def test_answers_cover_the_atoms(plan, answers, wrong_answers):
    assert set(answers) == set(plan.by_id)
    assert set(wrong_answers) == set(plan.by_id)
    for atom in plan.atoms:
        (given,), (wanted,) = ast.parse(answers[atom.id]).body, ast.parse(f"{atom.signature}: ...").body
        given.body = wanted.body
        assert ast.dump(given) == ast.dump(wanted), atom.id


def test_wrong_answers_are_mutants_of_the_answers(answers, wrong_answers):
    for atom_id, options in wrong_answers.items():
        made = {mutant.code for mutant in mutants(answers[atom_id]) + destructive(answers[atom_id])}
        assert 3 <= len(options) <= 6, atom_id
        assert made.issuperset(options), f"{atom_id}: write them again with benchmarks/mutation_score.py"


def test_the_assembled_project_passes_its_suite(plan, answers, tmp_path):
    done = run_suite(assemble(plan, answers), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_skeleton_can_be_imported_and_fails_its_suite(plan, tmp_path):
    done = run_suite(plan.files, tmp_path, "--tb=no")
    assert done.returncode == 1, done.stdout[-3000:]
    summary = done.stdout.splitlines()[-1]
    assert " failed" in summary
    assert "error" not in summary
    assert " passed" not in summary


@pytest.mark.parametrize("atom_id", ["money.allocate", "journal.Journal.append", "query_parser.parse_query"])
def test_the_first_wrong_answer_fails_the_atoms_tests(plan, answers, wrong_answers, atom_id, tmp_path):
    codes = {name: answers[name] for name in plan.closure(atom_id)} | {atom_id: wrong_answers[atom_id][0]}
    done = run_suite(assemble(plan, codes), tmp_path, "-x", *plan.atom(atom_id).tests)
    assert done.returncode == 1, done.stdout[-3000:]


def test_an_atoms_tests_pass_on_its_dependencies_alone_and_fail_on_its_stub(plan):
    """A sample, for time; `python -m benchmarks.mutation_score ... --premises` checks every atom."""
    sample = [atom.id for atom in plan.atoms[::6]]
    tool = ["benchmarks.mutation_score", str(EXAMPLE / "plan.yaml"), str(EXAMPLE / "answers.json"), "--premises"]
    done = run([*tool, *(f"--atom={atom_id}" for atom_id in sample)], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(sample)} atoms, 0 with a problem" in done.stdout
