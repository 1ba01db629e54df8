"""What goes wrong, drawn from (seed, atom, index) alone.

The order in which atoms arrive, the prompt and the clock change nothing, so the same functions that decide in the
server predict in a test. Two indices count separately:

- `try_index` counts the requests of an atom that were valid, within the limits and outside a storm; it draws the
  transport fault, the storm and the latency.
- `answer_index` counts the *delivered, complete* answers of an atom. A billed answer that was lost on the way does not
  advance it, so "the first four answers of this atom were all bad" follows from the seed, whatever the transport did.
"""

import math
from hashlib import blake2b

from mge_ray.simulator.config import SimulatorConfig, parse_latency
from mge_ray.simulator.kinds import BILLED, AnswerFault, TransportFault

__all__ = [
    "BILLED",
    "AnswerFault",
    "TransportFault",
    "draw_answer",
    "draw_latency",
    "draw_mutation",
    "draw_storm",
    "draw_transport",
]

_TRANSPORT_FIELDS = tuple((kind, kind.rate_field) for kind in TransportFault)
_ANSWER_FIELDS = tuple((kind, kind.rate_field) for kind in AnswerFault)


def _uniform(seed: int, salt: str, atom_id: str, index: int) -> float:
    """Draw from (0, 1): 52 bits, moved off both ends so that a rate of 0 never hits and a logarithm is finite."""
    digest = blake2b(f"{seed}\0{salt}\0{index}\0{atom_id}".encode(errors="surrogatepass"), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52


def draw_transport(config: SimulatorConfig, atom_id: str, try_index: int) -> TransportFault | None:
    """Draw the fault that hits this request of the atom, if any."""
    chance = _uniform(config.seed, "transport", atom_id, try_index)
    reached = 0.0
    for kind, name in _TRANSPORT_FIELDS:
        rate = getattr(config, name)
        if rate:
            reached += rate
            if chance < reached:
                return kind
    return None


def draw_answer(config: SimulatorConfig, atom_id: str, answer_index: int) -> AnswerFault | None:
    """Draw what spoils this delivered answer of the atom, if anything."""
    chance = _uniform(config.seed, "answer", atom_id, answer_index)
    reached = 0.0
    for kind, name in _ANSWER_FIELDS:
        rate = getattr(config, name)
        if rate:
            reached += rate
            if chance < reached:
                return kind
    return None


def draw_latency(config: SimulatorConfig, atom_id: str, try_index: int) -> float:
    """Draw the seconds until the answer to this request begins."""
    latency = parse_latency(config.latency)
    if not latency.sigma:
        return latency.median_s
    radius = math.sqrt(-2 * math.log(_uniform(config.seed, "latency radius", atom_id, try_index)))
    angle = 2 * math.pi * _uniform(config.seed, "latency angle", atom_id, try_index)
    return latency.median_s * math.exp(latency.sigma * radius * math.cos(angle))


def draw_storm(config: SimulatorConfig, atom_id: str, try_index: int) -> bool:
    """Draw whether a 529 drawn for this request begins a storm."""
    return config.storm_s > 0 and _uniform(config.seed, "storm", atom_id, try_index) < config.storm_share


def draw_mutation(config: SimulatorConfig, atom_id: str, answer_index: int, count: int) -> int:
    """Draw which of `count` candidates a spoilt answer takes."""
    return int(_uniform(config.seed, "mutation", atom_id, answer_index) * count)
