import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOX = re.compile(r"```console\n(.*?)```", re.DOTALL)


def test_the_tutorial_does_what_it_says(tmp_path):
    commands = [line for box in BOX.findall((ROOT / "docs/tutorial.md").read_text()) for line in box.splitlines()]
    assert len(commands) >= 6
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("RAY_ADDRESS", None)
    told = {}
    for command in commands:
        run = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{command}: {run.stdout}{run.stderr}"
        told[command] = run.stdout
    first, second = [text for command, text in told.items() if command.startswith("mge-ray run")]
    assert re.search(r"calls +[1-9]\d* answers", first)
    assert re.search(r"calls +0 answers", second)
    assert (tmp_path / "shop.html").exists()
