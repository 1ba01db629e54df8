import ast
import inspect
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.workspace import (
    MARKER,
    OutputError,
    PlacementError,
    assemble,
    build_traced,
    build_workspace,
    place,
    write_project,
)

MODULE = '''"""Doc."""
from __future__ import annotations
import json

LIMIT = 1  # for now


class Empty: ...


class Ledger:
    """L."""

    rate: float = 1.0

    @property
    def total(self) -> int: ...

    @total.setter
    def total(self, value): ...

    class Entry:
        def show(self):
            raise NotImplementedError

    def post(self, n):
        raise NotImplementedError  # stub

    # the end of the class


@decorated
def parse(text):
    ...  # stub


def last(): return 1


if __name__ == "__main__":
    parse("")
'''


def atom(symbol, file="m.py", **fields):
    return AtomicUnit(**{"id": symbol, "file": file, "symbol": symbol, **fields})


def without(text, *parts):
    for part in parts:
        assert part in text
        text = text.replace(part, "", 1)
    return text


# -- one placement ---------------------------------------------------------------------------------------------------


def test_a_function_takes_the_place_of_its_stub_and_nothing_else_changes():
    new = "def parse(text):\n    return text.split()\n"
    placed = place(MODULE, "parse", new)

    assert without(placed, new) == without(MODULE, "@decorated\ndef parse(text):\n    ...  # stub\n")


def test_a_method_is_indented_into_its_class():
    placed = place(MODULE, "Ledger.post", "def post(self, n):\n    if n:\n\n        self.n = n\n")

    stub = "    def post(self, n):\n        raise NotImplementedError  # stub\n"
    assert placed == MODULE.replace(stub, "    def post(self, n):\n        if n:\n\n            self.n = n\n")


def test_a_method_of_a_nested_class_finds_its_place():
    placed = place(MODULE, "Ledger.Entry.show", "async def show(self): return 1")

    assert "        async def show(self): return 1\n\n    def post" in placed


def test_all_definitions_of_one_symbol_give_way():
    code = "@property\ndef total(self):\n    return 1\n\n@total.setter\ndef total(self, value):\n    self.v = value\n"
    placed = place(MODULE, "Ledger.total", code)

    assert placed.count("def total") == 2
    assert "..." not in placed.partition("class Ledger")[2].partition("class Entry")[0]


def test_an_assignment_is_replaced():
    assert place(MODULE, "LIMIT", "LIMIT: int = 5") == MODULE.replace("LIMIT = 1  # for now\n", "LIMIT: int = 5\n")


def test_a_new_symbol_goes_to_the_end_but_before_the_main_block():
    placed = place(MODULE, "fresh", "def fresh(): return 2")

    assert placed == MODULE.replace("if __name__", "def fresh(): return 2\n\n\nif __name__")


def test_a_new_method_goes_to_the_end_of_its_class():
    placed = place("class A:\n    x = 1\n\n\ny = 2\n", "A.m", "def m(self): return 3")

    assert placed == "class A:\n    x = 1\n\n    def m(self): return 3\n\n\ny = 2\n"


def test_a_one_line_class_is_opened_for_a_method():
    placed = place(MODULE, "Empty.m", "def m(self): return 3")

    assert placed == MODULE.replace("class Empty: ...\n", "class Empty:\n    ...\n\n    def m(self): return 3\n")


def test_a_method_without_a_class_begins_one():
    placed = place("x = 1\n", "A.B.m", "def m(self): return 3")

    assert placed == "x = 1\n\n\nclass A:\n    class B:\n        def m(self): return 3\n"


def test_a_tab_indented_class_keeps_its_tabs():
    placed = place("class A:\n\tdef m(self):\n\t\tpass\n", "A.m", "def m(self):\n    return 1\n")

    assert placed == "class A:\n\tdef m(self):\n\t    return 1\n"
    ast.parse(placed)


def test_helpers_go_with_the_symbol_and_replace_their_stubs():
    text = "def _helper():\n    ...\n\n\ndef f():\n    ...\n\n\nx = 1\n"
    placed = place(text, "f", "def _helper():\n    return 1\n\n\ndef f():\n    return _helper()\n", defines=["_helper"])

    assert placed == "\n\ndef _helper():\n    return 1\n\n\ndef f():\n    return _helper()\n\n\nx = 1\n"


def test_a_methods_helpers_stand_before_its_class():
    code = "SIZE = 3\n\ndef m(self, size=SIZE):\n    return size\n"
    placed = place("class A:\n    def m(self): ...\n", "A.m", code, defines=["SIZE"])

    assert placed == "SIZE = 3\n\n\nclass A:\n    def m(self, size=SIZE):\n        return size\n"


def test_listed_and_brought_imports_are_merged_once_below_the_docstring():
    code = "from __future__ import annotations\nimport os\nfrom a import b\n\n\ndef parse(text):\n    return b\n"
    placed = place(MODULE, "parse", code, ["from a import b, c", "import json, re"])

    head = placed.partition("LIMIT")[0]
    assert head == (
        '"""Doc."""\nfrom __future__ import annotations\n\n'
        "import os\nfrom a import b\nfrom a import c\nimport re\nimport json\n\n"
    )
    assert "import" not in placed.partition("LIMIT")[2]


def test_a_future_import_stays_first():
    placed = place('"""Doc."""\n\nimport os\n', "f", "from __future__ import annotations\nimport re\ndef f(): ...")

    assert placed.startswith('"""Doc."""\n\nfrom __future__ import annotations\n')
    compile(placed, "m", "exec")


def test_an_import_tried_in_the_skeleton_is_not_repeated():
    text = "try:\n    import fast\nexcept ImportError:\n    fast = None\n"

    assert place(text, "f", "def f(): return fast", ["import fast"]).count("import fast") == 1


def test_a_file_without_a_last_line_break_still_has_none():
    assert place("x = 1\ndef f(): ...", "f", "def f(): return 1\n") == "x = 1\ndef f(): return 1"
    assert place("x = 1", "f", "def f(): return 1") == "x = 1\n\n\ndef f(): return 1\n"


def test_line_ends_and_byte_order_marks_stay():
    text = "\ufeffx = 1\r\n\r\ndef f(): ...\r\n\r\ny = '''a\r\nb'''\r\n"

    assert place(text, "f", "def f(): return 1") == text.replace("def f(): ...\r\n", "def f(): return 1\n")


def test_texts_inside_strings_are_not_indented_but_docstrings_are():
    code = (
        'def m(self):\n    """One.\n\n    Two.\n    """\n    a = """x\n  y\n"""\n    b = f"""{a}\nz"""\n'
        "    return (a,\n      b)\n"
    )
    placed = place("class A:\n    pass\n", "A.m", code)

    assert '        """One.\n\n        Two.\n        """\n' in placed
    assert '        a = """x\n  y\n"""\n        b = f"""{a}\nz"""\n        return (a,\n          b)\n' in placed


def test_a_docstring_whose_meaning_would_change_is_left_alone():
    code = 'def m(self):\n    """One.\\n  Two.\n    Three.\n    """\n'
    placed = place("class A:\n    pass\n", "A.m", code)

    before, after = ast.parse(code).body[0], ast.parse(placed).body[0].body[1]
    assert ast.get_docstring(after, clean=False) == ast.get_docstring(before, clean=False)


@pytest.mark.parametrize(
    ("text", "symbol", "code", "message"),
    [
        ("def (", "f", "def f(): ...", "not valid Python at line 1"),
        ("x = 1\n", "f", "def f(", "the code for 'f' is not valid Python"),
        ("a = 1; b = 2\n", "a", "a = 3", "'a' shares line 1 with other code"),
        ("def f(): ...\n", "f.g", "def g(): ...", "'f' is not a class"),
    ],
)
def test_what_cannot_be_placed_is_one_clear_line(text, symbol, code, message):
    with pytest.raises(PlacementError) as caught:
        place(text, symbol, code)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# -- properties ------------------------------------------------------------------------------------------------------

LINES = st.text(alphabet="ab \t{}\\'#é\n", max_size=12)
LITERALS = LINES.map(lambda text: '"""' + text.replace("\\", "\\\\").replace("{", "{{").replace("}", "}}") + ' """')
NAMES = ("f", "g", "A.m", "A.n", "B.C.k", "V")


@st.composite
def definitions(draw, name):
    first, second = draw(LITERALS), draw(LITERALS)
    if name == "V":
        return f"V = {first}\n"
    head = draw(st.sampled_from(["def", "async def"]))
    decorator = draw(st.sampled_from(["", "@dec\n", "# why\n"]))
    prefix = draw(st.sampled_from(["", "f", "r"]))
    doc = f"    {first}\n" if draw(st.booleans()) else ""
    body = f"{doc}    x = {prefix}{second}\n    if x:\n        return (x,\n  {second})\n    return {first}\n"
    return f"{decorator}{head} {name.rpartition('.')[2]}(*a):\n{body}"


def meaning(node):
    """The syntax tree with docstrings as `inspect.cleandoc` reads them, without positions."""
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(part) is not None:
            part.body[0].value.value = inspect.cleandoc(part.body[0].value.value)
    return ast.dump(node)


def symbols(text):
    """Each symbol of a module with its meaning."""
    found, pending = {}, [("", ast.parse(text))]
    while pending:
        prefix, scope = pending.pop()
        for node in scope.body:
            if isinstance(node, ast.ClassDef):
                pending.append((f"{prefix}{node.name}.", node))
            elif isinstance(node, ast.Assign):
                found[prefix + node.targets[0].id] = meaning(node)
            else:
                found[prefix + node.name] = meaning(node)
    return found


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_placing_puts_each_meaning_in_its_place_and_keeps_all_others(data):
    skeleton_names = data.draw(st.lists(st.sampled_from(NAMES), unique=True))
    placed_names = data.draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    skeleton = ""
    for name in skeleton_names:
        skeleton = place(skeleton, name, data.draw(definitions(name)))
    codes = {name: data.draw(definitions(name)) for name in placed_names}

    built = build_workspace({"m.py": skeleton}, [(atom(name), code) for name, code in codes.items()])["m.py"]

    expected = symbols(skeleton) | {name: meaning(ast.parse(code).body[0]) for name, code in codes.items()}
    assert symbols(built) == expected


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_each_line_of_the_traced_answer_is_found_again(data):
    names = data.draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=2))
    others = [(atom(name), data.draw(definitions(name))) for name in names[1:]]
    code = "import os\n\n" + data.draw(definitions(names[0]))
    files, trace = build_traced({"m.py": MODULE}, others, atom(names[0]), code)

    lines, own = files["m.py"].split("\n"), code.split("\n")
    assert trace
    for row, number in trace.items():
        assert lines[row - 1].strip() == own[number - 1].strip()


# -- workspaces ------------------------------------------------------------------------------------------------------


def test_a_class_and_its_methods_may_be_different_atoms():
    placed = [
        (atom("A.m"), "def m(self): return 1"),
        (atom("A"), "class A:\n    z = 0\n"),
        (atom("A.n"), "def n(self): return 2"),
    ]
    built = build_workspace({"m.py": "class A: ...\n"}, placed)

    assert built["m.py"] == ("class A:\n    z = 0\n\n    def m(self): return 1\n\n    def n(self): return 2\n")


def test_a_module_that_is_missing_is_begun_with_its_packages():
    files = {"pkg/__init__.py": "", "tools/x.py": ""}
    placed = [
        (atom("f", "pkg/a/b/new.py", imports=("import re",)), "def f(): return re"),
        (atom("g", "tools/y.py"), "def g(): ..."),
    ]
    built = build_workspace(files, placed)

    assert built["pkg/a/b/new.py"] == "import re\n\n\ndef f(): return re\n"
    assert {"pkg/a/__init__.py", "pkg/a/b/__init__.py"} < set(built)
    assert "tools/__init__.py" not in built
    assert files == {"pkg/__init__.py": "", "tools/x.py": ""}


def test_ten_placements_into_a_module_of_200_lines_take_under_a_millisecond():
    stub = 'def s{i}(a: int) -> int:\n    """Do {i}."""\n    x = a\n    raise NotImplementedError\n\n\n'
    files = {"m.py": "".join(stub.replace("{i}", str(i)) for i in range(35))}
    code = "    a = a + 1\n" * 8
    placed = [(atom(f"s{i}"), f"def s{i}(a: int) -> int:\n{code}    return a\n") for i in range(10)]
    build_workspace(files, placed)

    def timed():
        started = time.perf_counter()
        build_workspace(files, placed)
        return time.perf_counter() - started

    assert min(timed() for _ in range(20)) < 0.001


def test_the_assembled_project_keeps_stubs_and_gets_a_pyproject():
    plan = Masterplan(name="My  Bank!", atoms=(atom("parse"), atom("last")), files={"m.py": MODULE})
    files = assemble(plan, {"last": "def last(): return 2"})

    assert files["m.py"] == MODULE.replace("def last(): return 1", "def last(): return 2")
    assert 'name = "my-bank"' in files["pyproject.toml"]
    own = plan.model_copy(update={"files": {**plan.files, "pyproject.toml": "mine"}})
    assert assemble(own, {})["pyproject.toml"] == "mine"


# -- the output folder -----------------------------------------------------------------------------------------------


def test_a_project_is_written_and_written_again(tmp_path):
    target = tmp_path / "deep" / "out"
    write_project({"a/b.py": "é\r\n", "gone.py": ""}, target)
    (target / "a" / "__pycache__").mkdir()
    (target / "a" / "__pycache__" / "b.pyc").write_text("")
    write_project({"a/b.py": "2\n"}, target)

    assert (target / "a/b.py").read_bytes() == b"2\n"
    assert sorted(path.name for path in target.iterdir()) == [MARKER, "a"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("spoil", ["add", "edit", "link", "marker", "foreign"])
def test_nothing_of_the_users_is_overwritten(tmp_path, spoil):
    target = tmp_path / "out"
    write_project({"a.py": "1\n"}, target)
    if spoil == "add":
        (target / "notes.txt").write_text("mine")
    elif spoil == "edit":
        (target / "a.py").write_text("mine")
    elif spoil == "link":
        (target / "link").symlink_to(tmp_path)
    elif spoil == "marker":
        (target / MARKER).write_text("{}")
    else:
        (target / MARKER).unlink()
    before = sorted(path.name for path in target.iterdir())

    with pytest.raises(OutputError):
        write_project({"a.py": "2\n"}, target)
    assert sorted(path.name for path in target.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_or_a_path_that_leads_out_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        write_project({"a.py": ""}, tmp_path / "file")
    with pytest.raises(OutputError):
        write_project({"../a.py": ""}, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
