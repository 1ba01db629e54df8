"""What honest code gets: a right verdict, places to look at, and the parts of Python that tests need."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mge_ray.adapters.sandbox import CheckRequest, Sandbox, SandboxLevel, SandboxLimits, SandboxUnavailableError
from tests.adapters.sandbox.hosts import needs
from tests.adapters.sandbox.world import IS_ROOT, NOBODY

ADD = "def add(a, b):\n    return a + b\n"
TEST = "from sol import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
ALL_HELD = [SandboxLevel.FULL, SandboxLevel.NAMESPACES, SandboxLevel.RESTRICTED]

HONEST = """\
import asyncio, concurrent.futures, os, pathlib, socket, sqlite3, subprocess, sys, tempfile, threading, time


def test_threads():
    seen = []
    threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(20)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(seen) == list(range(20))


def test_subprocess():
    run = subprocess.run([sys.executable, "-c", "import sol; print(sol.add(20, 22))"], capture_output=True, text=True)
    assert run.stdout == "42\\n", run.stderr
    assert subprocess.run("echo $((6 * 7))", shell=True, capture_output=True, text=True).stdout == "42\\n"


def test_asyncio():
    async def main():
        process = await asyncio.create_subprocess_exec("python", "-c", "print(1)", stdout=subprocess.PIPE)
        out, _ = await process.communicate()
        return out, await asyncio.to_thread(lambda: 2), await asyncio.wait_for(asyncio.sleep(0, 3), 5)

    assert asyncio.run(main()) == (b"1\\n", 2, 3)


def test_temporary_files(tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a").write_text("x")
        pathlib.Path(folder, "a").rename(pathlib.Path(folder, "b"))
    (tmp_path / "file").write_text("y")
    pathlib.Path("in_workspace").mkdir()
    pathlib.Path("in_workspace/file").write_text("z")


def test_sqlite():
    with sqlite3.connect("file.db") as database:
        database.execute("create table t (n integer)")
        database.executemany("insert into t values (?)", [(n,) for n in range(10)])
        assert database.execute("select sum(n) from t").fetchone() == (45,)


def test_socket_pairs():
    one, other = socket.socketpair()
    one.sendall(b"x")
    assert other.recv(1) == b"x"


def test_thread_pools():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def test_capture_and_monkeypatch(capsys, monkeypatch):
    monkeypatch.setenv("X", "1")
    print("hello")
    assert capsys.readouterr().out == "hello\\n"


def test_modules_of_the_workspace_come_first():
    import ssl

    assert ssl.OURS


def test_hashes_are_fixed():
    assert os.environ["PYTHONHASHSEED"] == "0"
"""


@pytest.mark.parametrize("level", ALL_HELD, ids=lambda level: level.value)
def test_honest_code_finds_the_python_it_knows(level, user, hosts):
    files = {"sol.py": ADD, "ssl.py": "OURS = True\n", "test_honest.py": HONEST}
    record = hosts(user, level).check(files, "test_honest.py")
    assert record.status == "ok", (record.detail, record.output)
    assert len(record.outcomes) == 10


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


def run(sandbox, files, *tests, **more):
    return sandbox.check(CheckRequest(files, tests, **more))


def test_all_tests_passing_is_ok(sandbox):
    record = run(sandbox, {"sol.py": ADD, "test_sol.py": TEST}, "test_sol.py::test_add")
    assert (record.status, record.detail) == ("ok", "1 passed")
    assert [(o.node_id, o.outcome) for o in record.outcomes] == [("test_sol.py::test_add", "passed")]
    assert record.duration_s > 0


def test_failed_assertion_names_the_line_of_the_test(sandbox):
    record = run(sandbox, {"sol.py": ADD.replace("+", "-"), "test_sol.py": TEST}, "test_sol.py")
    (outcome,) = record.outcomes
    assert (record.status, outcome.outcome, outcome.path, outcome.line) == ("failed", "failed", "test_sol.py", 5)
    assert outcome.message.startswith("AssertionError: assert -1 == 3")
    assert "test_sol.py:5" in outcome.message


def test_exception_names_the_deepest_line_of_the_workspace(sandbox):
    files = {"pkg/__init__.py": "", "pkg/sol.py": "import json\n\n\ndef add(a, b):\n    return json.loads('{')\n"}
    files["tests/test_sol.py"] = TEST.replace("sol", "pkg.sol", 1)
    (outcome,) = run(sandbox, files, "tests/test_sol.py::test_add").outcomes
    assert (outcome.path, outcome.line) == ("pkg/sol.py", 5)
    assert outcome.message.startswith("json.decoder.JSONDecodeError")


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("def add(a, b)\n    return a + b\n", 1, "SyntaxError"),
        ("import os\nimport nothing_of_this_name\n", 2, "ModuleNotFoundError"),
        ("\n\nraise ValueError('at import')\n", 3, "ValueError: at import"),
        ("import sys\nsys.exit(0)\n", 2, "SystemExit: 0"),
        ("subtract = 1\n", 1, "ImportError: cannot import name 'add'"),
        ("x = '\ud800'\n", None, "Error"),
    ],
    ids=["syntax", "module", "exception", "exit", "name", "surrogate"],
)
def test_uncollected_test_fails_with_the_import_error_and_its_line(sandbox, source, line, message):
    tests = "test_sol.py::test_add", "test_other.py::test_fine"
    record = run(sandbox, {"sol.py": source, "test_sol.py": TEST, "test_other.py": "def test_fine(): pass\n"}, *tests)
    outcomes = {outcome.node_id: outcome for outcome in record.outcomes}
    assert record.status == "failed"
    assert set(outcomes) == set(tests)
    outcome = outcomes[tests[0]]
    assert outcome.outcome == "error"
    assert message in outcome.message
    if line is not None:
        assert outcome.line == line


def test_unknown_test_fails_alone(sandbox):
    files = {"sol.py": ADD, "test_sol.py": TEST}
    record = run(sandbox, files, "test_sol.py::test_add", "test_sol.py::test_nothing", "test_missing.py")
    assert [(o.node_id, o.outcome) for o in record.outcomes] == [
        ("test_sol.py::test_add", "passed"),
        ("test_sol.py::test_nothing", "error"),
        ("test_missing.py", "error"),
    ]
    assert record.outcomes[2].message == "test_missing.py does not exist"


def test_only_the_requested_test_runs(sandbox):
    files = {"test_two.py": "def test_one(): pass\n\n\ndef test_two(): assert False\n"}
    record = run(sandbox, files, "test_two.py::test_one")
    assert record.status == "ok"
    assert len(record.outcomes) == 1


def test_skipped_test_shows_nothing(sandbox):
    files = {"test_skip.py": "import pytest\n\n\ndef test_skip():\n    pytest.skip('today')\n"}
    record = run(sandbox, files, "test_skip.py::test_skip")
    assert (record.status, record.outcomes[0].outcome) == ("failed", "skipped")


def test_broken_fixture_is_an_error(sandbox):
    files = {"test_f.py": "import pytest\n\n\n@pytest.fixture\ndef f():\n    1 / 0\n\n\ndef test_f(f):\n    pass\n"}
    (outcome,) = run(sandbox, files, "test_f.py").outcomes
    assert (outcome.outcome, outcome.line) == ("error", 6)


def test_parameters_and_classes_are_covered_by_their_prefix(sandbox):
    body = "import pytest\n\n\nclass TestA:\n    @pytest.mark.parametrize('n', [1, 2])\n    def test_n(self, n): pass\n"
    for test in ("test_p.py::TestA", "test_p.py::TestA::test_n", "test_p.py", "."):
        assert run(sandbox, {"test_p.py": body}, test).detail == "2 passed"


def test_nothing_to_run_is_ok(sandbox):
    assert run(sandbox, {"sol.py": "not python at all"}).status == "ok"


def test_modules_are_imported_before_the_tests(sandbox):
    files = {"sol.py": ADD, "bad.py": "import sol\n1 / 0\n"}
    assert run(sandbox, files, import_modules=("sol",)).status == "ok"
    record = run(sandbox, files, import_modules=("sol", "bad"))
    (outcome,) = record.outcomes
    assert (record.status, outcome.node_id, outcome.path, outcome.line) == ("failed", "import bad", "bad.py", 2)


def test_output_is_kept_and_its_end_matters(sandbox):
    body = "import sys\n\n\ndef test_o():\n    print('x' * 5000)\n    print('err', file=sys.stderr)\n    1 / 0\n"
    files = {"test_o.py": body}
    record = run(sandbox, files, "test_o.py", limits=SandboxLimits(output_bytes=2000))
    assert len(record.output) <= 2000
    assert "err" in record.output
    assert "1 failed" in record.output


def test_workspace_configuration_is_honoured(sandbox):
    files = {
        "pytest.ini": "[pytest]\naddopts = -W error --strict-markers\n",
        "conftest.py": "import pytest\n\n\n@pytest.fixture\ndef one():\n    return 1\n",
        "test_c.py": "import warnings\n\n\ndef test_c(one):\n    warnings.warn('now an error')\n",
    }
    assert "UserWarning: now an error" in run(sandbox, files, "test_c.py").outcomes[0].message


def test_refused_configuration_is_a_failure(sandbox):
    files = {"pytest.ini": "[pytest]\naddopts = --no-such-option\n", "test_c.py": "def test_c(): pass\n"}
    record = run(sandbox, files, "test_c.py::test_c")
    assert (record.status, record.outcomes[0].outcome) == ("failed", "error")
    assert "--no-such-option" in record.output


def test_path_out_of_the_workspace_is_refused():
    for path in ("../x.py", "/etc/x.py", "", "a/../../x"):
        with pytest.raises(ValueError, match="no path inside a workspace"):
            CheckRequest({path: ""}, ())


def test_file_that_is_also_a_folder_is_a_failure(sandbox):
    record = run(sandbox, {"a": "", "a/b.py": ""}, "a")
    assert (record.status, record.detail) == ("failed", "a/b.py cannot be written: File exists")


def test_cpu_limit_ends_a_check_before_its_deadline(sandbox):
    files = {"test_l.py": "def test_l():\n    while True: pass\n"}
    record = run(sandbox, files, "test_l.py", limits=SandboxLimits(wall_s=300, cpu_s=1))
    assert record.status == "killed", "and not timed out"
    assert "1 s of CPU time" in record.detail


def test_checks_from_many_threads_do_not_mix(sandbox):
    def check(number):
        files = {"sol.py": f"N = {number}\n", "test_n.py": f"import sol\ndef test_n(): assert sol.N == {number}\n"}
        files["test_wrong.py"] = f"import sol\ndef test_n(): assert sol.N == {number + 1}\n"
        return [o.outcome for o in run(sandbox, files, "test_n.py", "test_wrong.py").outcomes]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(check, range(8))) == [["passed", "failed"]] * 8


def test_runner_survives_the_thread_that_started_it():
    with Sandbox() as sandbox:
        thread = threading.Thread(target=sandbox.start)
        thread.start()
        thread.join()
        assert run(sandbox, {"sol.py": ADD, "test_sol.py": TEST}, "test_sol.py").status == "ok"


def test_closed_sandbox_refuses():
    sandbox = Sandbox()
    sandbox.close()
    with pytest.raises(SandboxUnavailableError, match="closed"):
        run(sandbox, {})


def test_python_that_does_not_exist_is_reported():
    with pytest.raises(SandboxUnavailableError, match="no-such-python"):
        Sandbox(SandboxLevel.NONE, python="no-such-python").start()


def test_cold_check_gives_the_same_verdict(sandbox):
    request = CheckRequest({"sol.py": ADD, "test_sol.py": TEST}, ("test_sol.py",))
    assert sandbox.check_cold(request).outcomes == sandbox.check(request).outcomes


def test_no_isolation_at_all_must_be_asked_for_by_name():
    with Sandbox(SandboxLevel.NONE) as sandbox:
        assert run(sandbox, {"sol.py": ADD, "test_sol.py": TEST}, "test_sol.py").status == "ok"
        endless = {"test_l.py": "def test_l():\n    while True: pass\n"}
        assert run(sandbox, endless, "test_l.py", limits=SandboxLimits(wall_s=0.5)).status == "timeout"


@pytest.mark.parametrize("level", ALL_HELD, ids=lambda level: level.value)
def test_user_with_many_processes_can_still_run_checks(level, hosts):
    """RLIMIT_NPROC may count the user's processes wherever they are; 80 of them must not use up a limit of 64."""
    host = hosts("ordinary", level)
    busy = [subprocess.Popen(["/bin/sleep", "60"], user=NOBODY if IS_ROOT else None) for _ in range(80)]
    try:
        assert (
            host.check({"sol.py": ADD, "ssl.py": "OURS = True\n", "test_honest.py": HONEST}, "test_honest.py").status
            == "ok"
        )
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_environment_of_the_check_is_small_and_its_own():
    files = {"test_e.py": "import os\n\n\ndef test_e():\n    print('NAMES', sorted(os.environ))\n    assert 0\n"}
    os.environ["MGE_CANARY"] = "x"
    try:
        with Sandbox() as started_now:
            output = run(started_now, files, "test_e.py").output
    finally:
        del os.environ["MGE_CANARY"]
    assert "MGE_CANARY" not in output
    assert "PYTHONHASHSEED" in output
    assert sys.executable not in output


def test_runtime_below_the_temporary_folder_is_found(tmp_path):
    """The check's own /tmp would hide a virtual environment that lies there."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        shutil.copytree(Path(importlib.util.find_spec(name).origin).parent, packages / name)
    shutil.copy(importlib.util.find_spec("py").origin, packages)
    tmp_path.chmod(0o755)
    for level in (SandboxLevel.FULL, SandboxLevel.NAMESPACES):
        needs(level)
        with Sandbox(level, python=str(folder / "bin/python")) as sandbox:
            record = run(sandbox, {"sol.py": ADD, "test_sol.py": TEST}, "test_sol.py")
            assert record.status == "ok", record


LOUD = """\
import unittest

import pytest


class TestMany(unittest.TestCase):
    def test_subtests(self):
        for n in range(2_000):
            with self.subTest(n=n):
                self.assertNotEqual(n, WRONG)


@pytest.mark.parametrize("n", range(1_500))
def test_parameters(n):
    assert n != WRONG - 2_000


def test_last():
    pass
"""
LOUD_TESTS = tuple(f"test_loud.py::{name}" for name in ("TestMany::test_subtests", "test_parameters", "test_last"))


def test_loud_tests_push_out_no_other_tests_pass(sandbox):
    record = run(sandbox, {"test_loud.py": LOUD.replace("WRONG", "-1")}, *LOUD_TESTS)
    assert (record.status, record.detail) == ("ok", f"{record.dropped + len(record.outcomes)} passed")
    assert {outcome.node_id.partition("[")[0] for outcome in record.outcomes} == set(LOUD_TESTS)
    assert (record.tests_run, len(record.outcomes)) == (1_502, 500)


@pytest.mark.parametrize(
    ("wrong", "failing"), [("1_999", LOUD_TESTS[0]), ("3_490", f"{LOUD_TESTS[1]}[1490]")], ids=["subtest", "parameter"]
)
def test_one_failure_among_thousands_is_not_lost(sandbox, wrong, failing):
    record = run(sandbox, {"test_loud.py": LOUD.replace("WRONG", wrong)}, *LOUD_TESTS)
    assert record.status == "failed"
    assert {(one.node_id, one.outcome) for one in record.outcomes if one.outcome != "passed"} == {(failing, "failed")}
    assert record.outcomes[0].node_id == failing
    assert {one.node_id.partition("[")[0] for one in record.outcomes if one.outcome == "passed"} >= {LOUD_TESTS[2]}


def test_more_tests_can_be_requested_than_are_otherwise_kept(sandbox):
    names = [f"test_{n}" for n in range(800)]
    files = {"test_w.py": "".join(f"def {name}(): assert {name[5:]} != WRONG\n" for name in names)}
    requested = [f"test_w.py::{name}" for name in names]
    good = run(sandbox, {"test_w.py": "WRONG = -1\n" + files["test_w.py"]}, *requested)
    assert (good.status, len(good.outcomes), good.dropped, good.tests_run) == ("ok", 800, 0, 800)
    bad = run(sandbox, {"test_w.py": "WRONG = 777\n" + files["test_w.py"]}, *requested)
    assert (bad.status, bad.detail) == ("failed", "1 of 800 failed, first test_w.py::test_777")


def test_hundreds_of_long_failures_make_a_readable_record(sandbox):
    body = (
        "import pytest\n@pytest.mark.parametrize('n', range(700))\ndef test_l(n): raise ValueError('\u2603' * 1_900)\n"
    )
    record = run(sandbox, {"test_l.py": body, "test_k.py": "def test_k(): pass\n"}, "test_l.py", "test_k.py")
    assert (record.status, record.tests_run) == ("failed", 701)
    assert record.detail.startswith("700 of 701 failed")
    assert len(record.outcomes[0].message) > 1_500
    assert ("test_k.py::test_k", "passed") in {(one.node_id, one.outcome) for one in record.outcomes}


def test_test_with_a_very_long_name_is_found_in_the_record(sandbox):
    body = "import pytest\n\n\n@pytest.mark.parametrize('text', [1], ids=['x' * 900])\ndef test_n(text): pass\n"
    assert run(sandbox, {"test_n.py": body}, f"test_n.py::test_n[{'x' * 900}]").status == "ok"
