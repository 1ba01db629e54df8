"""The recorded exchanges of examples/cron: documents that fit together, and code that passes the tests in them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mge_ray.adapters.ruff_format import format_plan, format_project
from mge_ray.adapters.sandbox import CheckRequest, Sandbox, SandboxLimits
from mge_ray.adapters.validator.lint import ruff_binary
from mge_ray.pipeline.output_folder import write_project
from mge_ray.pipeline.spec.assembly import assemble_plan, modules_of, requirement_table
from mge_ray.pipeline.spec.checks import Interface, check_interface, check_requirements
from mge_ray.pipeline.spec.details import Details, check_details
from mge_ray.pipeline.spec.documents import DetailsDocument, InterfaceDocument, RequirementsDocument, read_document
from mge_ray.pipeline.spec.spec_file import load_spec
from mge_ray.pipeline.tidy import same_code
from mge_ray.pipeline.workspace import assemble

EXAMPLE = Path(__file__).parents[2] / "examples" / "cron"


@pytest.fixture(scope="module")
def answers():
    return json.loads((EXAMPLE / "answers.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def planned(answers):
    requirements = read_document(answers["plan:requirements"], RequirementsDocument)
    interface = Interface(read_document(answers["plan:interface"], InterfaceDocument))
    details = [
        Details(read_document(answers[f"plan:details:{module}"], DetailsDocument), interface)
        for module in modules_of(interface)
    ]
    return requirements, interface, details


def test_the_documents_are_right(planned):
    requirements, interface, details = planned
    assert check_requirements(requirements, load_spec(EXAMPLE / "SPEC.md").text) == []
    assert check_interface(interface.document, requirements.requirements) == []
    assert [check_details(one, one.module, requirements.requirements) for one in details] == [[]] * len(details)


def test_the_example_is_of_real_size(planned):
    requirements, interface, details = planned
    plan = assemble_plan(*planned)
    table = requirement_table(requirements, details, load_spec(EXAMPLE / "SPEC.md").text)
    assert (len(table.requirements), len(interface.modules), len(plan.atoms)) == (61, 9, 48)
    assert all(row.tests and row.line for row in table.requirements)


def test_the_recorded_code_passes_the_planned_tests(planned, answers):
    plan = assemble_plan(*planned)
    files = assemble(plan, {atom.id: answers[atom.id] for atom in plan.atoms})
    with Sandbox() as sandbox:
        record = sandbox.check(CheckRequest(files, plan.acceptance_tests, SandboxLimits(wall_s=60)))
    assert record.status == "ok", record
    assert len(record.outcomes) > 300


def test_the_written_package_is_formatted_and_still_the_same_code(planned, answers, tmp_path):
    plan = format_plan(assemble_plan(*planned))
    codes = {atom.id: answers[atom.id] for atom in plan.atoms}
    files = assemble(plan, codes)
    tidied = format_project(plan, codes, files)
    assert tidied.problems == ()
    assert [path for path in files if path.endswith(".py") and not same_code(files[path], tidied.files[path])] == []
    write_project(tidied.files, tmp_path / "cron")
    check = [ruff_binary(), "format", "--check", "--no-cache", "."]
    assert subprocess.run(check, cwd=tmp_path / "cron", capture_output=True, check=False).returncode == 0
