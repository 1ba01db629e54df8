"""From an existing package to a plan: which code becomes atoms, what each rests on, which tests judge it.

Pure: texts and observations go in, a Masterplan and the original answers come out. Running the package is left to
`adapters/suite_run.py`.
"""

from mge_ray.pipeline.atomize.build import Atomized, Options, atomize
from mge_ray.pipeline.atomize.observations import Entry, Observations, ObservedTest
from mge_ray.pipeline.atomize.project_tree import AtomizeError, ProjectTree, read_project

__all__ = [
    "AtomizeError",
    "Atomized",
    "Entry",
    "Observations",
    "ObservedTest",
    "Options",
    "ProjectTree",
    "atomize",
    "read_project",
]
