"""Reading and describing temperatures."""

import re


def parse(text: str) -> tuple[float, str]:
    """Split text such as "21.5 C" into number and unit."""
    raise NotImplementedError


def to_celsius(value: float, unit: str) -> float:
    """Return the value in degrees Celsius."""
    raise NotImplementedError


def describe(text: str) -> str:
    """Say how warm that is."""
    raise NotImplementedError


NUMBER_AND_UNIT = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([CF])\s*")
