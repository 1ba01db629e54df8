"""Which code a process runs: the version, and a fingerprint of the sources it was started from."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import mge_ray

_ROOT = Path(mge_ray.__file__).parent


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return `VERSION+FINGERPRINT`; read once a process (20 ms), early, so that it is what was imported."""
    digest = blake2b(digest_size=6)
    for path in sorted(_ROOT.rglob("*.py")):
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{mge_ray.__version__}+{digest.hexdigest()}"
