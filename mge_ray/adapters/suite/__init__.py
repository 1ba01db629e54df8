"""A package's own import and test suite, run once in processes of their own, with what they ran noted."""

from mge_ray.adapters.suite.suite_run import SuiteError, import_package, run_suite

__all__ = ["SuiteError", "import_package", "run_suite"]
