"""Which tests of a workspace run: exactly those that were asked for, whatever pytest is spared from making."""

import pytest

from mge_ray.adapters.sandbox import CheckRequest, Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


def ran(sandbox, files, *tests):
    """Return the names of the tests that passed, without their file, or what went wrong."""
    record = sandbox.check(CheckRequest(files, tests))
    assert record.status == "ok", (record.detail, record.outcomes, record.output)
    return [outcome.node_id.partition("::")[2] for outcome in record.outcomes]


CLASSES = """\
import unittest

import pytest


class Shared:
    def test_shared(self): pass

    @pytest.mark.parametrize("n", [1, 2])
    def test_many(self, n): pass


class TestOne(Shared):
    def test_own(self): pass


class TestTwo(Shared):
    class TestInner:
        def test_deep(self): pass


class TestOneMore:
    def test_more(self): pass


class Case(unittest.TestCase):
    def test_case(self): pass

    def test_other(self): pass


@pytest.mark.parametrize("n", [1, 2])
def test_n(n): pass


def test_n_more(): pass
"""


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("TestOne", ["TestOne::test_shared", "TestOne::test_many[1]", "TestOne::test_many[2]", "TestOne::test_own"]),
        ("TestOne::test_many[2]", ["TestOne::test_many[2]"]),
        ("TestTwo::test_shared", ["TestTwo::test_shared"]),
        ("TestTwo::TestInner", ["TestTwo::TestInner::test_deep"]),
        ("TestTwo::TestInner::test_deep", ["TestTwo::TestInner::test_deep"]),
        ("Case", ["Case::test_case", "Case::test_other"]),
        ("Case::test_other", ["Case::test_other"]),
        ("test_n", ["test_n[1]", "test_n[2]"]),
        ("test_n[2]", ["test_n[2]"]),
        ("test_n_more", ["test_n_more"]),
    ],
)
def test_a_name_selects_itself_and_what_lies_below(sandbox, test, expected):
    assert ran(sandbox, {"tests/test_it.py": CLASSES}, f"tests/test_it.py::{test}") == expected


def test_files_and_folders_are_selected_whole(sandbox):
    files = {
        "tests/test_a.py": "def test_a(): pass\n",
        "tests/test_ab.py": "def test_ab(): pass\n",
        "tests/deep/test_c.py": "def test_c(): pass\n",
        "tests/deep/conftest.py": "",
        "other/test_d.py": "def test_d(): pass\n",
    }
    assert ran(sandbox, files, "tests/test_a.py") == ["test_a"]
    assert sorted(ran(sandbox, files, "tests/deep")) == ["test_c"]
    assert sorted(ran(sandbox, files, "tests")) == ["test_a", "test_ab", "test_c"]
    assert sorted(ran(sandbox, files, ".")) == ["test_a", "test_ab", "test_c", "test_d"]
    assert sorted(ran(sandbox, files, "tests/test_ab.py::test_ab", "other")) == ["test_ab", "test_d"]


def test_a_test_asked_for_twice_runs_once(sandbox):
    files = {"test_it.py": CLASSES}
    assert ran(sandbox, files, "test_it.py::test_n[1]", "test_it.py::test_n", "test_it.py::test_n[1]") == [
        "test_n[1]",
        "test_n[2]",
    ]


def test_a_test_nobody_asked_for_is_not_made_and_does_no_harm(sandbox):
    broken = (
        "import pytest\n\n\ndef test_good(): pass\n\n\n@pytest.mark.parametrize('a, b', [1])\ndef test_bad(): pass\n"
    )
    files = {"test_it.py": broken, "test_beside.py": "1 / 0\n"}
    assert ran(sandbox, files, "test_it.py::test_good") == ["test_good"]
    record = sandbox.check(CheckRequest(files, ("test_it.py::test_bad",)))
    assert [(one.node_id, one.outcome) for one in record.outcomes] == [("test_it.py::test_bad", "error")]


def test_a_workspace_that_collects_by_itself_collects_everything(sandbox):
    renames = (
        "import pytest\n\n\ndef pytest_pycollect_makeitem(collector, name, obj):\n"
        "    if name.startswith('check_'):\n"
        "        return pytest.Function.from_parent(collector, name='test_' + name, callobj=obj)\n"
    )
    files = {"conftest.py": renames, "test_it.py": "def check_it(): pass\n\n\ndef test_more(): pass\n"}
    assert ran(sandbox, files, "test_it.py::test_check_it") == ["test_check_it"]
    counts = "def pytest_collection_modifyitems(items):\n    assert [i.name for i in items] == ['test_a', 'test_b']\n"
    files = {"tests/conftest.py": counts, "tests/test_it.py": "def test_a(): pass\n\n\ndef test_b(): pass\n"}
    assert ran(sandbox, files, "tests/test_it.py::test_b") == ["test_b"]


TOOLS = """\
import logging, warnings

import pytest


@pytest.fixture(scope="module", autouse=True)
def always(tmp_path_factory):
    yield tmp_path_factory.mktemp("always")


def test_tools(
    always, capfd, doctest_namespace, monkeypatch, record_property,
    record_testsuite_property, record_xml_attribute, recwarn, tmp_path, tmpdir, tmpdir_factory, pytestconfig, request,
): pass


def test_streams_logs_and_warnings(capsys, caplog, recwarn):
    print("shown")
    logging.getLogger("here").warning("logged")
    warnings.warn("warned")
    assert capsys.readouterr().out == "shown\\n"
    assert caplog.messages == ["logged"]
    assert [str(one.message) for one in recwarn] == ["warned"]


def test_invocation(pytestconfig):
    assert pytestconfig.rootpath == pytestconfig.invocation_params.dir
    assert pytestconfig.invocation_params.args[-1] == "test_tools.py"
    assert not pytestconfig.pluginmanager.has_plugin("cacheprovider")


def test_pytest_within_pytest(tmp_path, pytestconfig):
    (tmp_path / "test_inner.py").write_text("def test_good(): pass\\n\\n\\ndef test_bad(always): pass\\n")
    seen = []

    class Plugin:
        def pytest_runtest_logreport(self, report):
            seen.append((report.nodeid, report.when, report.outcome))

        def pytest_configure(self, config):
            assert config is not pytestconfig

    assert pytest.main(["-q", "--rootdir", str(tmp_path), str(tmp_path)], plugins=[Plugin()]) == 1
    assert ("test_inner.py::test_good", "call", "passed") in seen
    assert ("test_inner.py::test_bad", "setup", "failed") in seen
"""


def test_a_warm_pytest_is_a_whole_pytest(sandbox):
    request = CheckRequest({"test_tools.py": TOOLS}, ("test_tools.py",))
    warm, cold = sandbox.check(request), sandbox.check_cold(request)
    assert (warm.status, warm.detail) == ("ok", "4 passed"), (warm.outcomes, warm.output)
    assert warm.outcomes == cold.outcomes
