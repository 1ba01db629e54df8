"""`python -m mge_ray.simulator --answers FILE --port 0 --seed 7`."""

import sys

from mge_ray.simulator.arguments import parse_arguments
from mge_ray.simulator.config import SimulatorConfigError
from mge_ray.simulator.server import serve


def main() -> int:
    """Serve until told to stop; 2 means that the command line made no sense."""
    try:
        serve(parse_arguments())
    except SimulatorConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
