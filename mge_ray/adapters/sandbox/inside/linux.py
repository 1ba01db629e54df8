"""The kernel calls the standard library does not offer, each raising OSError when the kernel refuses."""

import contextlib
import ctypes
import os
import platform

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_NEWTIME = 0x00000080

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_MOUNT_ATTR_RDONLY = 0x1
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def machine() -> str:
    """Return the architecture whose system call numbers apply, "x86_64" or "aarch64", or raise OSError."""
    name = platform.machine()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)
    if name not in _PIVOT_ROOT:
        raise OSError(f"no system call table for {name}")
    return name


def syscall(number: int, *arguments: object) -> int:
    """Call the kernel by number; pointers are passed as ctypes objects, integers as they are."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), f"system call {number}")


def prctl(option: int, *arguments: object) -> int:
    """Call prctl with its unused arguments set to zero, as newer options demand."""
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    wide += [ctypes.c_ulong(0)] * (4 - len(wide))
    return _checked(_libc.prctl(ctypes.c_int(option), *wide), f"prctl {option}")


def unshare(flags: int) -> None:
    """Move this process (for NEWPID: its next child) into new namespaces."""
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount; `kind` None is for binds and changes of propagation."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _checked(result, f"mount {source} on {target}")


def detach(target: str) -> None:
    """Take a mount out of sight at once, open files or not."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace."""
    syscall(_PIVOT_ROOT[machine()], ctypes.c_char_p(os.fsencode(new_root)), ctypes.c_char_p(os.fsencode(put_old)))


def make_read_only(target: str) -> None:
    """Set every mount below `target` read-only in one call (Linux 5.12)."""

    class MountAttr(ctypes.Structure):
        _fields_ = (
            ("attr_set", ctypes.c_uint64),
            ("attr_clr", ctypes.c_uint64),
            ("propagation", ctypes.c_uint64),
            ("userns_fd", ctypes.c_uint64),
        )

    attributes = MountAttr(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    path = ctypes.c_char_p(os.fsencode(target))
    size = ctypes.sizeof(attributes)
    syscall(_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, ctypes.byref(attributes), size)


def die_with_parent(sig: int) -> None:
    """Have the kernel send `sig` when the parent ends; unshare and setuid forget it, so call this after them."""
    prctl(_PR_SET_PDEATHSIG, sig)


def set_dumpable(*, dumpable: bool) -> None:
    """Become dumpable again, without which a process that changed its uid cannot write its own uid_map."""
    prctl(_PR_SET_DUMPABLE, int(dumpable))


def become_subreaper() -> None:
    """Have orphans below this process handed to it instead of to init."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Make set-uid programs and file capabilities powerless below this process."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability, the bounding set first; an ordinary user has none to give."""
    for capability in range(64):
        with contextlib.suppress(OSError):
            prctl(_PR_CAPBSET_DROP, capability)
    with contextlib.suppress(OSError):
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    syscall(_CAPSET[machine()], header, data)
