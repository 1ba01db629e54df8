"""What the host tells the runner at its start and the supervisor with each check; no secret is among it."""

import json
from dataclasses import asdict, dataclass

FULL, NAMESPACES, RESTRICTED, NONE = "bubblewrap", "namespaces", "restricted", "none"
READY = b"ready: processes are counted per "  # the first message of a runner, completed by one of these
PER_NAMESPACE, PER_USER = b"namespace", b"user"


@dataclass(frozen=True)
class RunnerConfig:
    """One runner's circumstances; paths are those of the host, and the same inside."""

    level: str
    control_fd: int
    code_dir: str  # this package
    read_only: tuple[str, ...]  # the runtime, on the host
    scratch: str  # a folder of the runner's own on the host; unused at FULL
    uid: int | None  # what a runner started as root turns into
    warm: bool

    def to_json(self) -> str:
        """Return the form that travels as an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "RunnerConfig":
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        raw["read_only"] = tuple(raw["read_only"])
        return cls(**raw)


@dataclass(frozen=True)
class CheckConfig:
    """What the supervisor of one check must know; the files themselves travel in a descriptor it only passes on."""

    nonce: str
    wall_s: float
    cpu_s: int
    memory_bytes: int
    file_size_bytes: int
    processes: int
    open_files: int
    output_bytes: int
    tmpfs_bytes: int

    def to_json(self) -> str:
        """Return the one message that goes over the control socket."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "CheckConfig":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
