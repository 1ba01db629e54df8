import pytest
from hypothesis import given
from hypothesis import strategies as st

from mge_ray.domain.generation import REMEDIES, FailureKind, Remedy, first_code_block
from tests.builders import failure, generation
from tests.properties import bounded


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("Here it is:\n\n```py\nx = 1\n```\nand that is all.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("~~~python\nx = 1\n~~~", "x = 1\n"),
        ("   ```python\nx = 1\n   ```", "x = 1\n"),
        ("```python\nfirst\n```\n```python\nsecond\n```", "first\n"),
        ('````python\ns = """\n```\n"""\n````', 's = """\n```\n"""\n'),
        ("```python\n~~~\n```", "~~~\n"),
        ("```python\n\n```", "\n"),
        ("```python\n```", ""),
        ("```python\nx = 1\n```   ", "x = 1\n"),
        ("```python\r\nx = 1\r\n```\r\nbye", "x = 1\r\n"),
        ("```python\nx = '``'\n```", "x = '``'\n"),
    ],
)
def test_the_first_complete_fenced_block_is_the_code(text, code):
    assert first_code_block(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        "```python\nx = 1",
        "```python\nx = 1\n~~~",
        "inline ```x = 1``` only",
        "``python\nx = 1\n``",
        "    ```python\nx = 1\n    ```",
        "```python x = 1 ```",
        "```python\nx = 1\n``` trailing words",
    ],
)
def test_an_answer_without_a_complete_block_has_no_code(text):
    assert first_code_block(text) is None


@bounded
@given(st.text().filter(lambda text: "```" not in text and "~~~" not in text))
def test_any_code_survives_its_fence(text):
    code = text + "\n"
    assert first_code_block(f"words\n```python\n{code}```\nwords") == code


@bounded
@given(st.text("`~ \npx", max_size=60))
def test_any_text_is_read_without_an_error(text):
    found = first_code_block(text)
    assert found is None or found in text


def test_every_kind_of_failure_has_a_remedy():
    assert set(REMEDIES) == set(FailureKind)
    assert {failure(kind).remedy for kind in FailureKind} == set(Remedy)


@pytest.mark.parametrize("kind", [FailureKind.SPEND_LIMIT, FailureKind.AUTHENTICATION, FailureKind.UNKNOWN_MODEL])
def test_what_every_call_would_meet_stops_the_run(kind):
    assert failure(kind).remedy is Remedy.STOP_RUN


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.RAMP_LIMITED, FailureKind.OVERLOADED])
def test_what_says_slow_down_slows_everybody_down(kind):
    assert failure(kind).remedy is Remedy.RETRY_ALL_TOGETHER


def test_halves_of_surrogate_pairs_do_not_get_past_the_door():
    answer = generation("s = '\ud800'\n")
    assert answer.code == "s = '\N{REPLACEMENT CHARACTER}'\n"
    assert "\ud800" not in answer.text
    assert generation("s = '🧾'\n").code == "s = '🧾'\n"
