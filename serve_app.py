"""The service for `serve run serve_app:app` and Serve config files; `mge-ray serve` does the same in one command.

`args` are those of `mge_ray.cluster.serve.ServeArgs`: `serve run serve_app:app database=postgresql://... replicas=2`.
"""

from ray.serve import Application

from mge_ray.cluster.serve import ServeArgs, build


def app(args: ServeArgs) -> Application:
    """Return the application; see `ServeArgs` for what may be said."""
    return build(args)
