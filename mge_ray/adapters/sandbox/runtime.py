"""What of the host a sandboxed Python needs to run, and the command that starts a runner at each level."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mge_ray.adapters.sandbox.inside.config import RunnerConfig
from mge_ray.adapters.sandbox.inside.namespaces import SHARED_MEMORY, TEMPORARY, WORKSPACE
from mge_ray.adapters.sandbox.model import SandboxLevel, SandboxUnavailableError

INSIDE = Path(__file__).resolve().parent / "inside"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/alternatives",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
)
_BOOT = """\
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("_mge_sandbox", sys.argv[2] + "/__init__.py", submodule_search_locations=[sys.argv[2]])
sys.modules["_mge_sandbox"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from _mge_sandbox.runner import main
main()
"""
_ASK_PREFIXES = (
    "import json, sys; print(json.dumps([sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]))"
)
# high and rarely assigned, one per runner: RLIMIT_NPROC and signals count and reach by real uid
_UID_BASE = 1_879_048_192
_UIDS_PER_PROCESS = 16
_UID_SPAN = 4096
_runners = 0


@dataclass(frozen=True)
class Runtime:
    """One Python and the host folders it reads."""

    python: str
    read_only: tuple[str, ...]


@functools.cache
def runtime_of(python: str) -> Runtime:
    """Ask the interpreter for its prefixes; everything else of the host stays invisible."""
    found = shutil.which(python)
    if found is None:
        raise SandboxUnavailableError(f"{python} is no Python interpreter that can be started")
    if found == sys.executable:
        prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    else:
        asked = subprocess.run([found, "-I", "-c", _ASK_PREFIXES], capture_output=True, check=False, timeout=30)
        if asked.returncode != 0:
            raise SandboxUnavailableError(f"{python} does not run: {asked.stderr.decode(errors='replace')[-500:]}")
        prefixes = json.loads(asked.stdout)
    wanted = [*_SYSTEM, *(str(Path(p).absolute()) for p in prefixes), *(str(Path(p).resolve()) for p in prefixes)]
    existing = [path for path in dict.fromkeys(wanted) if Path(path).exists() and path != "/"]
    outer = [p for p in existing if not any(o != p and p.startswith(f"{o}/") for o in existing)]
    return Runtime(found, (*outer, *(path for path in _ETC if Path(path).exists())))


def fresh_uid() -> int | None:
    """Return an unused uid for a runner of root's; None for an ordinary user, who cannot give it one."""
    global _runners  # noqa: PLW0603 - a counter of this process
    if os.getuid() != 0:
        return None
    _runners += 1
    wanted = _UID_BASE + os.getpid() * _UIDS_PER_PROCESS + _runners % _UIDS_PER_PROCESS
    ranges = [[int(n) for n in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    if any(start <= wanted < start + length for start, _outside, length in ranges):
        return wanted
    start, _outside, length = max(ranges, key=lambda r: r[2])
    if length <= _UID_SPAN:
        return None  # a user namespace with hardly more than root: an ordinary user under another name
    return start + length - 1 - wanted % _UID_SPAN


def environment(python: str) -> dict[str, str]:
    """Return all the environment the runner and everything below it see: nothing of the host's is passed on."""
    return {
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": TEMPORARY,
        "TMPDIR": TEMPORARY,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "MALLOC_ARENA_MAX": "2",  # each further arena reserves 64 MiB of the address space the limit counts
    }


def command(level: SandboxLevel, runtime: Runtime, config: RunnerConfig) -> list[str]:
    """Return the argument list that starts a runner."""
    program = [runtime.python, "-c", _BOOT, config.to_json(), config.code_dir]
    if level is not SandboxLevel.FULL:
        return program
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxUnavailableError("bubblewrap is not installed: bwrap is not on the PATH")
    return [bwrap, *_bubblewrap(runtime, config), "--", *program]


def _bubblewrap(runtime: Runtime, config: RunnerConfig) -> list[str]:
    arguments = ["--die-with-parent", "--new-session", "--clearenv", "--unshare-cgroup-try"]
    arguments += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--hostname", "sandbox"]
    if config.uid is None:
        arguments += ["--unshare-user"]  # by name: --unshare-all only tries it
    else:
        arguments += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for name, value in environment(runtime.python).items():
        arguments += ["--setenv", name, value]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--dir", WORKSPACE, "--dir", SHARED_MEMORY]
    arguments += ["--perms", "1777", "--size", str(16 << 20), "--tmpfs", TEMPORARY]
    made = {TEMPORARY}
    for path in (*runtime.read_only, config.code_dir):  # after /tmp, where a virtual environment may lie
        for parent in map(str, reversed(Path(path).parents[:-1])):
            if parent not in made and not _lies_in(parent, runtime.read_only):
                made.add(parent)
                arguments += ["--perms", "0755", "--dir", parent]  # a folder that may be root's alone on the host
        if Path(path).is_symlink():
            arguments += ["--symlink", str(Path(path).readlink()), path]
        else:
            arguments += ["--ro-bind", path, path]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _lies_in(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)
