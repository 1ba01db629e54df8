"""The system call filter: a deny list, because pytest, threads and subprocess need most of the rest.

Denied calls answer EPERM, so that honest code sees an ordinary error; clone3 answers ENOSYS, since its flags
lie in memory the filter cannot read and libc then falls back to clone, whose flags it can.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator

from . import linux

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000
_DENY = _ERRNO | errno.EPERM
_MISSING = _ERRNO | errno.ENOSYS

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_GREATER_EQUAL = 0x35
_JUMP_ANY_BIT = 0x45
_AND = 0x54
_RETURN = 0x06
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_CLONE3 = 435
_NEW_NAMESPACE = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWCGROUP
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUSER
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
)
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PERSONALITY_QUERY = 0xFFFFFFFF

# name -> (x86_64, aarch64); None where the architecture has no such call
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "uselib": (134, None),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
}
# without namespaces, SysV objects outlive a check, unix sockets reach the host and priorities any process of the uid
_DENIED_WITHOUT_NAMESPACES: dict[str, tuple[int | None, int | None]] = {
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "socket": (41, 198),
    "connect": (42, 203),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "inotify_add_watch": (254, 27),
}
# Landlock does not fence metadata, and an ordinary user's candidate owns all the user's files
_DENIED_WITHOUT_OWN_UID: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_OF_ITSELF_ONLY = {"prlimit64": (302, 261), "sched_setaffinity": (203, 122)}  # their first argument is a pid
_CLONE, _SOCKET, _SOCKETPAIR, _IOCTL, _PERSONALITY = (56, 220), (41, 198), (53, 199), (16, 29), (135, 92)

_Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def restrict(*, own_namespaces: bool, own_uid: bool) -> None:
    """Install the filter on this process and all below it; needs NO_NEW_PRIVS."""
    code = b"".join(struct.pack("=HBBI", *step) for step in _program(own_namespaces=own_namespaces, own_uid=own_uid))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    linux.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))


def _program(*, own_namespaces: bool, own_uid: bool) -> Iterator[_Instruction]:
    architecture = linux.machine()
    column = list(_AUDIT_ARCH).index(architecture)
    yield (_LOAD, 0, 0, _ARCH)
    yield (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[architecture])
    yield (_RETURN, 0, 0, _KILL_PROCESS)
    yield (_LOAD, 0, 0, _NR)
    if architecture == "x86_64":
        yield (_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT)
        yield (_RETURN, 0, 0, _MISSING)
    denied = dict(_DENIED)
    if not own_namespaces:
        denied |= _DENIED_WITHOUT_NAMESPACES
        if not own_uid:
            denied |= _DENIED_WITHOUT_OWN_UID
    for numbers in denied.values():
        number = numbers[column]
        if number is not None:
            yield from _when(number, [(_RETURN, 0, 0, _DENY)])
    yield from _when(_CLONE3, [(_RETURN, 0, 0, _MISSING)])
    yield from _when(_CLONE[column], _deny_if((_JUMP_ANY_BIT, 0, 1, _NEW_NAMESPACE), _ARG0))
    yield from _when(_SOCKET[column], _deny_if((_JUMP_EQUAL, 1, 0, socket.AF_UNIX), _ARG0))
    if not own_namespaces:
        # a datagram pair could still send to a named socket of the host
        unmasked = [(_LOAD, 0, 0, _ARG1), (_AND, 0, 0, 0xF), (_JUMP_EQUAL, 0, 1, int(socket.SOCK_DGRAM))]
        yield from _when(_SOCKETPAIR[column], [*unmasked, (_RETURN, 0, 0, _DENY), (_RETURN, 0, 0, _ALLOW)])
        for numbers in _OF_ITSELF_ONLY.values():
            yield from _when(numbers[column], _deny_if((_JUMP_EQUAL, 1, 0, 0), _ARG0))
    terminal = [
        (_LOAD, 0, 0, _ARG1),
        (_JUMP_EQUAL, 1, 0, _TIOCSTI),
        (_JUMP_EQUAL, 0, 1, _TIOCLINUX),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    yield from _when(_IOCTL[column], terminal)
    persona = [
        (_LOAD, 0, 0, _ARG0),
        (_JUMP_EQUAL, 2, 0, 0),
        (_JUMP_EQUAL, 1, 0, _PERSONALITY_QUERY),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    yield from _when(_PERSONALITY[column], persona)
    yield (_RETURN, 0, 0, _ALLOW)


def _deny_if(jump: _Instruction, argument: int) -> list[_Instruction]:
    """`jump` falls on the next instruction to deny and skips it to allow."""
    return [(_LOAD, 0, 0, argument), jump, (_RETURN, 0, 0, _DENY), (_RETURN, 0, 0, _ALLOW)]


def _when(number: int, body: list[_Instruction]) -> Iterator[_Instruction]:
    """Run `body`, which must return, when the call is `number`; otherwise skip it with the number still loaded."""
    yield (_JUMP_EQUAL, 0, len(body), number)
    yield from body
