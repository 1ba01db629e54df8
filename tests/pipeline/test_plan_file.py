import json
import os
from pathlib import Path

import pytest

from mge_ray.domain.errors import PlanError
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline import plan_file, skeleton_folder
from mge_ray.pipeline.plan_file import dump_plan, load_plan, plan_schema

YAML = """
name: bank
description: |
  A ledger.
  no: 1
skeleton: skeleton
files:
  tests/test_a.py: "def test_a(): ..."
atoms:
  - id: a1
    file: bank/m.py
    symbol: f
    tests: [tests/test_a.py]
  - {id: no, file: bank/m.py, symbol: g, depends_on: [a1], complexity: high, estimated_loc: 7}
execution_plan: [[a1], ["no"]]
validation: {types: true, check_timeout_s: 1e1}
"""
ATOM = {"id": "a1", "file": "m.py", "symbol": "f"}


def write(folder, text, name="plan.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def error_of(path):
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 700
    return message.removeprefix(f"{path}: ")


def error_in(folder, plan, name="plan.json"):
    return error_of(write(folder, json.dumps(plan), name))


# -- what a plan file may say ----------------------------------------------------------------------------------------


def test_a_plan_in_yaml_is_read_whole(tmp_path):
    write(tmp_path, YAML)
    (tmp_path / "skeleton/bank/__pycache__").mkdir(parents=True)
    (tmp_path / "skeleton/bank/m.py").write_bytes(b"def f(): ...\r\n")
    (tmp_path / "skeleton/bank/m.pyc").write_bytes(b"junk")
    (tmp_path / "skeleton/bank/__pycache__/m.py").write_text("junk")
    (tmp_path / "skeleton/.git").mkdir()
    (tmp_path / "skeleton/.git/config").write_text("junk")
    (tmp_path / "skeleton/logo.png").write_bytes(b"\x89PNG\0")
    plan = load_plan(tmp_path / "plan.yaml")

    assert plan.description == "A ledger.\nno: 1\n"
    assert plan.files == {"bank/m.py": "def f(): ...\r\n", "tests/test_a.py": "def test_a(): ..."}
    assert [wave.atom_ids for wave in plan.waves] == [("a1",), ("no",)]
    assert plan.atom("no").estimated_loc == 7
    assert (plan.validation.types, plan.validation.check_timeout_s) == (True, 10.0)


def test_both_forms_of_waves_mean_the_same(tmp_path):
    base = {"name": "x", "atoms": [ATOM]}
    short = load_plan(write(tmp_path, json.dumps({**base, "execution_plan": [["a1"]]}), "a.json"))
    long = load_plan(write(tmp_path, json.dumps({**base, "execution_plan": [{"wave_id": 1, "atom_ids": ["a1"]}]}), "b"))

    assert short == long == load_plan(write(tmp_path, json.dumps(base), "c.yml"))


def test_what_is_dumped_is_loaded_as_an_equal_plan(tmp_path):
    (tmp_path / "skeleton").mkdir()
    plan = load_plan(write(tmp_path, YAML))
    again = load_plan(write(tmp_path, dump_plan(plan), "dumped.json"))

    assert again == plan
    assert dump_plan(again) == dump_plan(plan)


@pytest.mark.parametrize("name", ["plan", "plan.txt"])
def test_other_suffixes_try_both_languages(tmp_path, name):
    assert load_plan(write(tmp_path, json.dumps({"name": "x", "atoms": [ATOM]}), name)).name == "x"
    assert load_plan(write(tmp_path, "name: y\natoms: [{id: a, file: m.py, symbol: f}]", name)).name == "y"
    assert "line 1" in error_of(write(tmp_path, "a: b: c", name))
    assert error_of(write(tmp_path, '{"a": [}', name)).startswith("neither JSON (invalid JSON at line 1, column 8")


def test_the_schema_describes_every_field_of_every_part():
    schema = plan_schema()
    parts = [schema, *(part for part in schema["$defs"].values() if "properties" in part)]

    assert set(schema["properties"]) == {*Masterplan.model_fields, "skeleton"}
    assert all(field["description"] for part in parts for field in part["properties"].values())
    assert schema["properties"]["execution_plan"]["items"]["anyOf"][0]["type"] == "array"


# -- files that are none ---------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    assert error_of(tmp_path / "none.yaml") == "there is no such file"
    assert error_of(tmp_path).startswith("is a folder")
    assert error_of(Path("/dev/null")) == "is not a regular file"
    assert error_of(write(tmp_path, b"name: \xff")) == "is not UTF-8 text (byte 6); save it as UTF-8"
    assert "the plan is empty" in error_of(write(tmp_path, " \n"))
    assert "the plan is empty" in error_of(write(tmp_path, "", "p.json"))
    with pytest.raises(PlanError, match="not a usable path"):
        load_plan(Path("a\0b"))


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = write(tmp_path, "")
    os.truncate(path, plan_file.MAX_PLAN_BYTES + 1)

    assert error_of(path).startswith("is larger than 64 MiB")


# -- syntax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\natoms: [", "invalid YAML at line 3, column 1"),
        ("name: x\n\tatoms: 1", "invalid YAML at line 2, column 1"),
        ("- a\n- b", "the top level is a list"),
        ("just text", "the top level is the text 'just text'"),
        ("42", "the top level is the number 42"),
        ("name: x\nname: y", "line 2: the key 'name' stands twice"),
        ("name: x\natoms:\n  - &a {id: 1}\n  - *a", "line 3: the anchor &a is not supported"),
        ("name: x\natoms: [*a]", "line 2: the alias *a is not supported"),
        ("name: !!python/object:os.system x", "line 1: the tag 'tag:yaml.org,2002:python/object:os.system' is not"),
        ("name: x\n---\nname: y", "line 2: a second document begins"),
        ("name: x\nvalidation: {check_timeout_s: .nan}", "line 2: .nan is not a number a plan can use"),
        ("name: x\nvalidation: {check_timeout_s: 1e999}", "line 2: 1e999 is not a number"),
        ("? [a]\n: b", "line 1: a key is a mapping or a list"),
        ("a: " + "[" * 100, "line 1: nested more than 64 levels deep"),
    ],
)
def test_yaml_that_cannot_be_a_plan_is_one_line_with_its_place(tmp_path, text, message):
    assert error_of(write(tmp_path, text)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x",\n "atoms": [}', "invalid JSON at line 2, column 12"),
        ("[1]", "the top level is a list"),
        ('{"name": "x", "name": "y"}', "the key 'name' stands twice"),
        ('{"atoms": [{"id": "a", "id": "b"}]}', "the key 'id' stands twice"),
        ('{"name": NaN}', "NaN is not a number a plan can use"),
        ('{"name": -Infinity}', "-Infinity is not a number"),
        ('{"name": 1e999}', "1e999 is not a number"),
        ('{"name": ' + "9" * 5000 + "}", "invalid JSON: Exceeds the limit"),
        ('{"a": ' + "[" * 100_000, "nested too deeply to be a plan"),
        ("null", "the top level is nothing"),
    ],
)
def test_json_that_cannot_be_a_plan_is_one_line_with_its_place(tmp_path, text, message):
    assert error_of(write(tmp_path, text, "plan.json")).startswith(message)


MEGABYTES = 10_000_000
JUNK = {
    "random bytes": lambda: os.urandom(MEGABYTES),
    "one line": lambda: b"a" * MEGABYTES,
    "brackets": lambda: b"[" * MEGABYTES,
    "braces in a key": lambda: b'{"a":' * (MEGABYTES // 5),
    "pairs": lambda: b"[]," * (MEGABYTES // 3),
    "numbers": lambda: b'{"name":"x","atoms":[1' + b",1" * (MEGABYTES // 2) + b"]}",
    "tests of one atom": lambda: b'{"name":"x","atoms":[{"id":"a","tests":[1' + b",1" * (MEGABYTES // 2) + b"]}]}",
    "keys": lambda: b"".join(b"k%d: 1\n" % i for i in range(MEGABYTES // 10)),
    "dashes": lambda: b"- " * (MEGABYTES // 2),
    "quotes": lambda: b'"\\' * (MEGABYTES // 2),
    "line breaks": lambda: b"\n" * MEGABYTES,
    "nul": lambda: b"\0" * MEGABYTES,
}


@pytest.mark.parametrize("kind", JUNK)
def test_ten_megabytes_of_junk_are_refused_in_one_line(tmp_path, kind):
    junk = JUNK[kind]()
    for name in ("plan.json", "plan.yaml"):
        path = write(tmp_path, junk, name)
        error_of(path)


# -- meaning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atom": []}, "unknown key 'atom'; did you mean 'atoms'?"),
        ({"zzz": []}, "unknown key 'zzz'; known keys: acceptance_tests, atoms"),
        ({"name": 3}, "name: expected a text, got the number 3; put it in quotes"),
        ({"name": ""}, "name: String should have at least 1 character, got the text ''"),
        ({"atoms": []}, "the plan has no atoms"),
        ({"atoms": {}}, "atoms: expected a list of atoms, got a mapping"),
        ({"atoms": [ATOM, 3]}, "atoms[1]: expected a mapping, got the number 3"),
        (
            {"atoms": [{**ATOM, "dependson": []}]},
            "atoms[0] ('a1'): unknown key 'dependson'; did you mean 'depends_on'?",
        ),
        ({"atoms": [ATOM, {"id": "b2", "file": "m.py"}]}, "atoms[1] ('b2').symbol is missing"),
        ({"atoms": [{**ATOM, "depends_on": "a"}]}, "atoms[0] ('a1').depends_on: expected a list, got the text 'a'"),
        (
            {"atoms": [{**ATOM, "tests": [True]}]},
            "atoms[0] ('a1').tests[0]: expected a text, got true; put it in quotes",
        ),
        (
            {"atoms": [{**ATOM, "complexity": "hard"}]},
            "atoms[0] ('a1').complexity: should be 'low', 'medium' or 'high'",
        ),
        ({"atoms": [{**ATOM, "file": "../m.py"}]}, "atoms[0] ('a1').file: file '../m.py' is not a plain relative path"),
        ({"atoms": [{**ATOM, "name": "\ud800"}]}, "atoms[0] ('a1').name: "),
        ({"atoms": [{**ATOM, "depends_on": ["a1"]}]}, "the dependencies form a cycle: a1 -> a1"),
        ({"atoms": [ATOM, ATOM]}, "atom id 'a1' is used twice"),
        ({"files": []}, "files: expected a mapping from path to text, got a list"),
        ({"files": {"a.txt": 1}}, "files: 'a.txt': expected the file's text, got the number 1"),
        ({"files": {"/a.txt": ""}}, "files: file '/a.txt' is not a plain relative path"),
        ({"files": {"a": "", "a/b": ""}}, "files: 'a' is a file and the folder of 'a/b'"),
        ({"execution_plan": "a1"}, "execution_plan: expected a list of waves, got the text 'a1'"),
        ({"execution_plan": ["a1"]}, "execution_plan[0]: expected a list of atom ids, got the text 'a1'"),
        ({"execution_plan": [[1]]}, "execution_plan[0][0]: expected a text, got the number 1; put it in quotes"),
        ({"execution_plan": [{"wave_id": 0, "atom_ids": []}]}, "execution_plan[0].wave_id: should be greater than"),
        ({"execution_plan": [["b"]]}, "execution_plan: wave 1 names atom 'b', which the plan does not have"),
        ({"acceptance_tests": "tests"}, "acceptance_tests: expected a list of texts, got the text 'tests'"),
        ({"validation": {"check_timeout_s": 0}}, "validation.check_timeout_s: should be greater than 0"),
        ({"validation": {"type": True}}, "validation: unknown key 'type'; did you mean 'types'?"),
        ({"masterplan_id": "x"}, "masterplan_id: should be a valid UUID"),
        ({"skeleton": 3}, "skeleton: expected the name of a folder, got the number 3"),
        ({"skeleton": "none"}, "skeleton: there is no folder"),
        ({"skeleton": "../.."}, "skeleton: '../..' lies outside the plan's folder"),
        ({"skeleton": "/etc"}, "skeleton: '/etc' lies outside the plan's folder"),
    ],
)
def test_every_mistake_is_named_with_its_place_and_its_remedy(tmp_path, change, message):
    assert error_in(tmp_path, {"name": "x", "atoms": [ATOM], **change}).startswith(message)


def test_a_missing_name_or_list_of_atoms_is_named(tmp_path):
    assert error_in(tmp_path, {"atoms": [ATOM]}).startswith("'name' is missing")
    assert error_in(tmp_path, {"name": "x"}).startswith("'atoms' is missing")


# -- the skeleton folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def skeleton(tmp_path):
    write(tmp_path, json.dumps({"name": "x", "atoms": [ATOM], "skeleton": "s"}), "plan.json")
    (tmp_path / "s").mkdir()
    return tmp_path / "s"


def test_a_link_that_leads_out_of_the_skeleton_is_refused(skeleton, tmp_path):
    (tmp_path / "secret").write_text("key")
    (skeleton / "a.txt").symlink_to(tmp_path / "secret")
    assert "the link 'a.txt' leads out of the folder" in error_of(tmp_path / "plan.json")

    (skeleton / "a.txt").unlink()
    (skeleton / "a.txt").symlink_to("nowhere")
    assert "the link 'a.txt' leads nowhere" in error_of(tmp_path / "plan.json")

    (skeleton / "a.txt").unlink()
    (skeleton / "loop").symlink_to(skeleton)
    assert "the link 'loop' leads to a folder" in error_of(tmp_path / "plan.json")


def test_a_link_inside_the_skeleton_is_followed(skeleton, tmp_path):
    (skeleton / "b.txt").write_text("text")
    (skeleton / "a.txt").symlink_to("b.txt")

    assert load_plan(tmp_path / "plan.json").files == {"a.txt": "text", "b.txt": "text"}


def test_python_files_that_are_not_utf8_are_refused(skeleton, tmp_path):
    (skeleton / "m.py").write_bytes(b"# \xff")

    assert error_of(tmp_path / "plan.json") == "skeleton: 'm.py' is not UTF-8 text; save it as UTF-8"


def test_a_skeleton_is_bounded_in_number_and_size(skeleton, tmp_path, monkeypatch):
    (skeleton / "a.txt").write_text("")
    (skeleton / "big.bin").write_text("")
    os.truncate(skeleton / "big.bin", skeleton_folder.MAX_FILES_CHARS + 1)
    assert "hold more than 64 MiB" in error_of(tmp_path / "plan.json")

    (skeleton / "big.bin").unlink()
    monkeypatch.setattr(skeleton_folder, "MAX_FILES", 0)
    assert "more than 0 files" in error_of(tmp_path / "plan.json")
