import dataclasses
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mge_ray.simulator import SimulatorConfig, SimulatorConfigError, create_app
from mge_ray.simulator.arguments import parse_arguments, to_arguments


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "mge_ray.simulator", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_process_announces_its_address_and_ends_with_its_standard_input():
    with start("--port", "0", "--exit-with-stdin", "--latency", "fixed:1") as process:
        line = process.stdout.readline()
        assert line.startswith("simulated Messages API on http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[-1] + "/healthz") as response:  # noqa: S310 - http, from our own line
            assert response.status == 200
        process.stdin.close()
        assert process.wait(5) == 0


def test_process_ends_at_a_signal():
    with start() as process:
        process.stdout.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) in {0, -signal.SIGTERM}
        assert time.monotonic() - began < 3


def test_nonsense_on_the_command_line_is_explained():
    done = subprocess.run(
        [sys.executable, "-m", "mge_ray.simulator", "--rate-429", "0.9", "--rate-500", "0.9"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert "sum to 1 at most" in done.stderr
    assert "Traceback" not in done.stderr


def test_command_line_and_configuration_say_the_same():
    config = SimulatorConfig(
        port=81,
        seed=9,
        answers=Path("a b.json"),
        synthetic="def {symbol}(): ...",
        models=("claude-a", "claude-b"),
        latency="lognormal:5:0.6",
        exit_with_stdin=True,
        rate_529=0.25,
        storm_s=3.0,
    )
    assert parse_arguments(to_arguments(config)) == config
    assert to_arguments(SimulatorConfig()) == []


def test_every_field_has_a_flag_and_an_explanation(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    shown = capsys.readouterr().out
    for field in dataclasses.fields(SimulatorConfig):
        assert "--" + field.name.replace("_", "-") in shown


def test_bare_synthetic_flag_has_a_default():
    assert "{symbol}" in parse_arguments(["--synthetic"]).synthetic


def test_folder_of_files_answers_too(tmp_path):
    (tmp_path / "cart.total.py").write_text("def total(): ...\n")
    app = create_app(SimulatorConfig(answers=tmp_path))
    assert app.book.code("cart.total") == "def total(): ...\n"


@pytest.mark.parametrize("content", ["[]", "{nonsense", '{"a": 1}'])
def test_answers_of_another_form_are_refused(tmp_path, content):
    path = tmp_path / "answers.json"
    path.write_text(content)
    with pytest.raises(SimulatorConfigError, match=r"answers\.json"):
        create_app(SimulatorConfig(answers=path))
    with pytest.raises(SimulatorConfigError, match=r"answers\.json"):
        create_app(SimulatorConfig(wrong_answers=path))


def test_missing_answers_are_refused(tmp_path):
    with pytest.raises(SimulatorConfigError, match=r"none\.json"):
        create_app(SimulatorConfig(answers=tmp_path / "none.json"))


def test_server_starts_without_the_heavy_parts():
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, mge_ray.simulator.server; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.split()
    assert {"ray", "anthropic", "sqlalchemy", "pydantic", "typer"}.isdisjoint(imported)
