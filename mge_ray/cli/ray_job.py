"""What is different in a Ray job: its working folder is a copy that Ray deletes, and it has three seconds to leave.

`ray job submit --working-dir .` unpacks a copy of the folder on the head node and runs the command there. Journal and
output must outlive that copy, so paths that are not absolute begin at the home folder instead.
"""

from __future__ import annotations

import os
from pathlib import Path

JOB_MARK = "RAY_JOB_CONFIG_JSON_ENV_VAR"
COPIES = "working_dir_files"
"""Ray's name for the folder in which it unpacks working folders."""


def in_job() -> bool:
    """Return whether this program was started by `ray job submit`."""
    return JOB_MARK in os.environ


def base_folder() -> Path:
    """Return the folder at which relative paths of what is to be kept begin."""
    here = Path.cwd()
    return Path.home() if in_job() and COPIES in here.parts else here


def kept(path: Path) -> Path:
    """Return where a file or folder named on the command line is to be written."""
    return base_folder() / path.expanduser()
