"""docs/api.md is what the service is, and its examples work when they are pasted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = re.compile(r"^## (\w+) (\S+)\n.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_reference_is_not_stale():
    check = [sys.executable, ROOT / "tools" / "api_reference.py", "--check"]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_each_example_of_the_reference_is_answered_well(service, tmp_path):
    """In the page's order, in one shell; verbs may come too late for an execution that moved on, and are told so."""
    found = EXAMPLES.findall((ROOT / "docs" / "api.md").read_text("utf-8"))
    assert len(found) > 20
    (curl := tmp_path / "curl").write_text('#!/bin/sh\n/usr/bin/env PATH="$PLAIN" curl --fail-with-body -m 20 "$@"\n')
    curl.chmod(0o755)
    script = "".join(f"echo '=== {method} {path}'\n{text}echo \" exit $?\"\n" for method, path, text in found)
    plain = os.environ["PATH"]
    environment = {"PATH": f"{tmp_path}:{plain}", "PLAIN": plain, "URL": service.url, "TOKEN": service.token("reader")}
    run = subprocess.run(
        ["bash", "-c", script],  # noqa: S607
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = run.stdout.split("=== ")[1:]
    assert len(answers) == len(found)
    for answer in answers:
        assert "exit 0" in answer or '"title":"bad state"' in answer, answer[-2_000:]
    assert (tmp_path / "project.zip").read_bytes().startswith(b"PK")
