"""The command line, called in this process: fast, and with its real exit codes and outputs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest

from mge_ray.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["mge-ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Ran(left.value.code or 0, out, err)

    return call


@pytest.fixture
def starter(cli, tmp_path):
    assert cli("init", "my-plan").code == 0
    return tmp_path / "my-plan"
