"""Views of the machine: the runner's where bubblewrap did not make one, and each check's own."""

import os
import resource
import signal
import stat
from pathlib import Path

from . import linux
from .config import CheckConfig, RunnerConfig

WORKSPACE = "/workspace"
TEMPORARY = "/tmp"  # noqa: S108 - a mount of the check's own
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the same
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_INODES = 4096
_OLD_ROOT = ".old"


def drop_uid(uid: int) -> None:
    """Root turns into a user nobody else is, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def enter_runner_view(config: RunnerConfig) -> None:
    """Do for the runner what bubblewrap does: a root with nothing but the runtime, read-only.

    Returns in the child that lives there; the parent waits for it and dies with the host.
    """
    if os.getuid() == 0 and config.uid is not None:
        try:
            linux.unshare(linux.CLONE_NEWNS)
        except PermissionError:
            drop_uid(config.uid)
        else:
            _build_root(config)
            drop_uid(config.uid)
            _unshare_user(linux.CLONE_NEWPID | linux.CLONE_NEWNS)
            _go_on_in_child()
            return
    _unshare_user(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
    _build_root(config)
    _go_on_in_child()


def enter_check_view(config: RunnerConfig, check: CheckConfig) -> int:
    """Give the check namespaces of its own, a size-limited tmpfs wherever it may write and an empty /proc.

    Returns a descriptor of the runner's /proc, for the supervisor alone.
    """
    rest = linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    _unshare_user(linux.CLONE_NEWNS | rest)
    Path("/proc/self/oom_score_adj").write_text("1000")
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.make_read_only("/")
    writable = (WORKSPACE, TEMPORARY, SHARED_MEMORY)
    covered = [p for p in (*config.read_only, config.code_dir) if any(p.startswith(f"{f}/") for f in writable)]
    kept = [(path, os.open(path, os.O_PATH)) for path in covered]  # a virtual environment under /tmp, say
    harmless = linux.MS_NOSUID | linux.MS_NODEV
    for folder in writable:
        room = f"size={check.tmpfs_bytes},nr_inodes={_INODES},mode=0700"
        linux.mount("tmpfs", folder, "tmpfs", harmless, room)
    for path, fd in kept:
        Path(path).mkdir(parents=True)
        linux.mount(f"/proc/self/fd/{fd}", path, None, linux.MS_BIND | linux.MS_REC)
        os.close(fd)
    processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    linux.mount("tmpfs", "/proc", "tmpfs", harmless | linux.MS_RDONLY, "size=4096,nr_inodes=1,mode=0555")
    return processes


def counts_processes_per_namespace() -> bool:
    """Measure whether RLIMIT_NPROC counts the new user namespace alone (Linux 5.14) or the user everywhere.

    With room for two, a process in a fresh namespace can fork once unless its host user's processes count too.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _unshare_user(0)
            resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0)
            os.waitpid(grandchild, 0)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def _unshare_user(flags: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    linux.set_dumpable(dumpable=True)
    linux.unshare(linux.CLONE_NEWUSER | flags)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _go_on_in_child() -> None:
    linux.die_with_parent(signal.SIGKILL)
    child = os.fork()
    if child == 0:
        linux.die_with_parent(signal.SIGKILL)
        return
    os.waitpid(child, 0)
    os._exit(1)


def _build_root(config: RunnerConfig) -> None:
    root = config.scratch
    os.umask(0o022)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=16m,mode=0755")
    for path in (*config.read_only, config.code_dir, *DEVICES, "/proc"):
        _bind(path, root + path)
    for folder in (WORKSPACE, TEMPORARY, SHARED_MEMORY):
        Path(root + folder).mkdir(parents=True, exist_ok=True)
    Path(root + TEMPORARY).chmod(0o1777)
    Path(root, _OLD_ROOT).mkdir()
    linux.pivot_root(root, f"{root}/{_OLD_ROOT}")
    os.chdir("/")
    linux.detach(f"/{_OLD_ROOT}")
    for path in config.read_only:
        if not Path(path).is_symlink():
            linux.make_read_only(path)


def _bind(source: str, target: str) -> None:
    if Path(source).is_symlink():  # merged /usr: /lib -> usr/lib
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            Path(target).symlink_to(Path(source).readlink())
        return
    try:
        mode = Path(source).stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
