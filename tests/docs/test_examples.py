import os
import re
import subprocess
import sys
from pathlib import Path

from mge_ray.cli import simulate

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_library_example_of_the_guide_runs(tmp_path):
    example = next(
        code for code in BLOCK.findall((ROOT / "docs/execution_v2_guide.md").read_text()) if "asyncio" in code
    )
    subprocess.run([sys.executable, "-m", "mge_ray", "init", "shop"], cwd=tmp_path, check=True, capture_output=True)
    with simulate.server(simulate.configuration([f"--answers={tmp_path}/shop/answers.json"])) as url:
        environment = {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "invented"}
        run = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"completed 100\.0 % \$0\.\d+", run.stdout)


def test_every_python_example_in_the_documents_can_be_read():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, code in enumerate(BLOCK.findall(path.read_text()), start=1):
            compile(code, f"{path.name}, example {number}", "exec")


def test_every_link_between_the_documents_leads_somewhere():
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "benchmarks/README.md",
    ]
    broken = []
    for path in pages:
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        missing = [one for one in targets if "://" not in one and not (path.parent / one).exists()]
        broken += [f"{path.relative_to(ROOT)}: {one}" for one in missing]
    assert broken == []
