import pytest
from temperatures.core import describe, parse, to_celsius


def test_parse():
    assert parse(" 21.5 C ") == (21.5, "C")
    assert parse("-4F") == (-4.0, "F")


@pytest.mark.parametrize("text", ["", "warm", "12", "C", "12 K", "1 2 C"])
def test_parse_refuses_nonsense(text):
    with pytest.raises(ValueError):
        parse(text)


def test_to_celsius():
    assert to_celsius(20.0, "C") == 20.0
    assert to_celsius(212.0, "F") == pytest.approx(100.0)
    assert to_celsius(-40.0, "F") == pytest.approx(-40.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 C", "freezing"),
        ("0.1 C", "mild"),
        ("24.9 C", "mild"),
        ("25 C", "hot"),
        ("32 F", "freezing"),
        ("77 F", "hot"),
    ],
)
def test_describe(text, expected):
    assert describe(text) == expected
