"""A package's own import and test suite, run in processes of their own, with what they ran noted."""

from mge_ray.adapters.suite.sandbox_trial import tried_in_sandbox
from mge_ray.adapters.suite.suite_run import (
    ImportFailure,
    SuiteError,
    SuiteRecord,
    import_package,
    run_suite,
    watch_suite,
)

__all__ = [
    "ImportFailure",
    "SuiteError",
    "SuiteRecord",
    "import_package",
    "run_suite",
    "tried_in_sandbox",
    "watch_suite",
]
