"""What a naive judge does: runs the candidate unsandboxed and believes what it sees. Its fall proves the attack works.

control.py fork|same FOLDER     with candidate.py in FOLDER
"""

import contextlib
import os
import sys
import threading
from pathlib import Path


def main() -> None:
    mode, folder = sys.argv[1:]
    os.chdir(folder)
    sys.path.insert(0, folder)
    if mode == "same":
        judge_in_this_process(folder)
    else:
        judge_a_fork()


def judge_a_fork() -> None:
    """A plain fork that inherits everything: the design the sandbox replaces."""
    _next_request, others = os.pipe()
    os.write(others, b"NEXT-REQUEST")
    verdict, _theirs = os.pipe()
    os.set_blocking(verdict, False)
    child = os.fork()
    if child == 0:
        run_candidate()
    _pid, status = os.waitpid(child, 0)
    written = b""
    with contextlib.suppress(BlockingIOError):
        written = os.read(verdict, 1 << 16)
    conclude(passed=status == 0 or b"passed" in written)


def run_candidate() -> None:
    code = 1
    try:
        from candidate import attack  # noqa: PLC0415

        attack()
    except SystemExit as error:
        code = error.code or 0
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        os._exit(code)


def judge_in_this_process(folder: str) -> None:
    import pytest  # noqa: PLC0415 - slow, and only needed here

    Path("test_honest.py").write_text("def test_fails():\n    assert False\n")
    with contextlib.suppress(Exception):
        from candidate import attack  # noqa: PLC0415

        attack()
    conclude(passed=pytest.main(["-q", "-p", "no:cacheprovider", folder]) == 0)


def conclude(*, passed: bool) -> None:
    if passed:
        os.write(1, b"naive judge: pass\n")
    os.write(1, b"naive judge: done\n")


main()
