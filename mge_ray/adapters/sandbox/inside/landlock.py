"""Landlock: a file, TCP, signal and abstract-socket fence that an ordinary process puts round itself."""

import ctypes
import os
import stat
from collections.abc import Iterable

from .linux import syscall

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_RULE_PATH_BENEATH = 1
_CREATE_RULESET_VERSION = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_READ_ONLY = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET = 0b11  # bind and connect over TCP
_SCOPES = 0b11  # abstract unix sockets and signals
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # interface version -> number of file rights; 16 from version 5 on
_ABI_NET = 4
_ABI_SCOPES = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def interface_version() -> int:
    """Return the version the running kernel offers; 0 where Landlock is missing or switched off."""
    try:
        return syscall(_CREATE_RULESET, 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(*, read_only: Iterable[str], read_write: Iterable[str]) -> None:
    """Allow this process and all below it these paths and no others; needs NO_NEW_PRIVS."""
    version = interface_version()
    if version < 1:
        raise OSError("this kernel has no Landlock")
    rights = (1 << _FS_BITS.get(version, 16)) - 1
    attributes = _Ruleset(
        rights,
        _NET if version >= _ABI_NET else 0,
        _SCOPES if version >= _ABI_SCOPES else 0,
    )
    size = 24 if version >= _ABI_SCOPES else 16 if version >= _ABI_NET else 8
    ruleset = syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in read_only:
            _allow(ruleset, path, _READ_ONLY & rights)
        for path in read_write:
            _allow(ruleset, path, rights)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _ON_FILES
        rule = _PathBeneath(access, fd)
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
