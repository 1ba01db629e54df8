"""What goes into a check and what comes out of it; nothing here starts a process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from typing import Literal

Outcome = Literal["passed", "failed", "error", "skipped"]
Status = Literal["ok", "failed", "timeout", "killed", "forged", "no-verdict", "crashed"]


class SandboxUnavailableError(RuntimeError):
    """No isolation that holds could be started, and nobody asked by name to do without."""


class SandboxLevel(str, Enum):
    """How candidate code is held, strongest first; docs/threat-model.md says what each level gives."""

    FULL = "bubblewrap"
    NAMESPACES = "namespaces"
    RESTRICTED = "restricted"
    NONE = "none"

    @property
    def is_full(self) -> bool:
        """True for bubblewrap around namespaces per check, Landlock and seccomp."""
        return self is SandboxLevel.FULL


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Memory, CPU time, file size and open files count per process; processes and temporary space per check.

    `memory_bytes` is address space of one process; the check as a whole is ended when the private memory of all
    its processes together passes twice that figure.
    """

    wall_s: float = 30.0
    cpu_s: int = 20
    memory_bytes: int = 1 << 30
    file_size_bytes: int = 32 << 20
    processes: int = 64
    open_files: int = 128
    output_bytes: int = 64 << 10
    tmpfs_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        """Refuse limits under which not even an empty check could run."""
        if self.wall_s <= 0 or self.cpu_s < 1 or self.processes < 1 or self.output_bytes < 0:
            raise ValueError(f"a check needs some time and one process, not {self}")


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """The whole workspace (relative posix path -> text) and what of it is to be run.

    `tests` are pytest node ids, files or folders, relative to the workspace; each must show at least one pass.
    `import_modules` are imported first, in order; if one cannot be, no test runs. With `trace` the record says which
    functions of the workspace the tests ran.
    """

    files: Mapping[str, str]
    tests: tuple[str, ...]
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    import_modules: tuple[str, ...] = ()
    trace: bool = False

    def __post_init__(self) -> None:
        """Refuse paths that leave the workspace: the plan names them, not the candidate."""
        if "." in self.files:
            raise ValueError("'.' is the workspace itself, no file in it")
        for path in (*self.files, *(test.split("::", 1)[0] for test in self.tests)):
            pure = PurePosixPath(path)
            if (not pure.parts and path != ".") or pure.is_absolute() or ".." in pure.parts or "\0" in path:
                raise ValueError(f"{path!r} is no path inside a workspace")


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """One test, or one import, as the judge inside the sandbox reported it.

    `message` is the failing assertion or exception; `path` and `line` are the deepest frame inside the workspace.
    """

    __test__ = False  # pytest would take the name for a test class

    node_id: str
    outcome: Outcome
    message: str = ""
    line: int | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionRun:
    """A function of the workspace, by the line it begins on, and how many tests that failed and passed ran it."""

    path: str
    line: int
    failed: int
    passed: int


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """The verdict on one check; only "ok" is a pass, and only a positive record makes one.

    `outcomes` hold a pass of each requested test that had one, and failures before passes where not all have room:
    `dropped` is how many had none. `tests_run` counts tests, parameters apart and subtests not, skipped ones left out.
    """

    status: Status
    outcomes: tuple[TestOutcome, ...]
    output: str
    duration_s: float
    detail: str
    functions: tuple[FunctionRun, ...] = ()
    tests_run: int = 0
    dropped: int = 0
