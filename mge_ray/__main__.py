"""`python -m mge_ray` is `mge-ray`."""

from mge_ray.cli import main

main()
