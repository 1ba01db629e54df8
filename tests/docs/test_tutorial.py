import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOX = re.compile(r"```console\n(.*?)```", re.DOTALL)


def test_the_tutorial_does_what_it_says(tmp_path, cluster):
    """On a Ray that runs already; that a run starts one of its own where there is none is shown by the doors' tests."""
    commands = [line for box in BOX.findall((ROOT / "docs/tutorial.md").read_text()) for line in box.splitlines()]
    assert len(commands) >= 6
    told = {}
    for command in commands:
        run = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{command}: {run.stdout}{run.stderr}"
        told[command] = run.stdout
    first, second = [text for command, text in told.items() if command.startswith("mge-ray run")]
    assert re.search(r"calls +[1-9]\d* answers", first)
    assert re.search(r"calls +0 answers", second)
    assert (tmp_path / "shop.html").exists()
