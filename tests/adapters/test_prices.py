import json
import pickle
import subprocess
import sys

import pytest

from mge_ray.adapters import prices as module
from mge_ray.adapters.capabilities import accepts_effort, accepts_sampling, is_custom
from mge_ray.adapters.prices import BUILT_IN, PriceOverrideError, PriceTable, Rates, parse_price
from mge_ray.domain.errors import UnknownPriceError
from mge_ray.domain.generation import Usage

MILLION = 1_000_000


def test_an_answer_costs_its_tokens_at_four_rates():
    usage = Usage(input_tokens=MILLION, output_tokens=MILLION, cache_write_tokens=MILLION, cache_read_tokens=MILLION)
    assert PriceTable().cost_usd("claude-opus-5-5", usage) == pytest.approx(4 + 20 + 5 + 0.2)


@pytest.mark.parametrize("model", sorted(BUILT_IN))
def test_the_installed_library_and_the_built_in_table_agree(model):
    assert PriceTable().rates(model) == BUILT_IN[model]


@pytest.mark.parametrize(
    "dated", ["claude-haiku-4-5-20251001", "claude-opus-4-5-20251101", "claude-fable-5-2-20261001"]
)
def test_a_dated_model_costs_what_its_alias_costs(dated):
    assert PriceTable().rates(dated) == PriceTable().rates(dated[:-9])


def test_beyond_100k_prompt_tokens_haiku_is_dearer_for_the_whole_request():
    table = PriceTable()
    at_the_limit = Usage(input_tokens=50_000, cache_read_tokens=50_000, output_tokens=1_000)
    beyond = Usage(input_tokens=50_000, cache_read_tokens=50_001, output_tokens=1_000)
    assert table.cost_usd("claude-haiku-5-5", at_the_limit) == pytest.approx((50_000 * 0.1 + 50_000 * 0.01 + 500) / 1e6)
    assert table.cost_usd("claude-haiku-5-5", beyond) == pytest.approx((50_000 * 0.5 + 50_001 * 0.05 + 2_500) / 1e6)


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-5-5"])
@pytest.mark.parametrize("prompt", [1, 99_999, 100_001, 250_000])
def test_no_bill_is_above_the_upper_bound(model, prompt):
    table = PriceTable()
    bound = table.max_cost_usd(model, prompt, 4_096)
    for usage in (
        Usage(input_tokens=prompt, output_tokens=4_096),
        Usage(cache_write_tokens=prompt, output_tokens=4_096),
        Usage(cache_read_tokens=prompt, output_tokens=4_096),
    ):
        assert table.cost_usd(model, usage) <= bound


def test_an_override_wins_even_if_it_is_zero():
    table = PriceTable({"claude-opus-5-5": Rates(0, 0, 0, 0), "qwen-local": Rates(1, 2, 1, 0)})
    assert table.max_cost_usd("claude-opus-5-5", 1000, 1000) == 0
    assert table.knows("qwen-local")


@pytest.mark.parametrize("model", ["claude-opus-9", "gpt-4o", "qwen-local", "claude-haiku-4-5-turbo", ""])
def test_an_unknown_model_is_an_error_that_says_what_to_do(model):
    assert not PriceTable().knows(model)
    with pytest.raises(UnknownPriceError, match=f"--price {model}=IN/OUT"):
        PriceTable().max_cost_usd(model, 1, 1)


def test_a_price_is_read_from_the_command_line():
    assert parse_price("m=2/10") == ("m", Rates(2, 10, 2.5, 0.2))
    assert parse_price("a=b=1/2/3/4") == ("a=b", Rates(1, 2, 3, 4))


@pytest.mark.parametrize("text", ["m", "m=", "=1/2", "m=1", "m=1/2/3", "m=x/y", "m=-1/2", "m=nan/1", "m=inf/1"])
def test_a_price_that_cannot_be_read_is_refused(text):
    with pytest.raises(PriceOverrideError):
        parse_price(text)


def test_a_price_table_can_be_pickled():
    table = PriceTable({"m": Rates(1, 2, 3, 4)})
    assert table.knows("m")
    assert pickle.loads(pickle.dumps(table)) == table  # noqa: S301 - our own


def test_importing_prices_does_not_import_the_slow_libraries():
    script = (
        f"import sys, json; import {module.__name__}, mge_ray.adapters.message_request;"
        "print(json.dumps([name for name in ('genai_prices', 'anthropic', 'ray') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("model", "accepted"),
    [
        ("claude-opus-4-6", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-7", False),
        ("claude-opus-5-5", False),
        ("llama", False),
    ],
)
def test_a_temperature_is_taken_only_by_the_models_known_for_it(model, accepted):
    assert accepts_sampling(model, base_url_is_custom=False) is accepted
    assert not accepts_sampling(model, base_url_is_custom=True)


@pytest.mark.parametrize(
    ("model", "accepted"),
    [
        ("claude-opus-4-6", True),
        ("claude-opus-5", True),
        ("claude-haiku-5-5-20261001", True),
        ("claude-haiku-4-5-20251001", False),
        ("claude-opus-4-20250514", False),
        ("llama", False),
    ],
)
def test_effort_is_taken_by_4_6_and_later(model, accepted):
    assert accepts_effort(model) is accepted


def test_the_provider_is_not_custom(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    assert not is_custom(None)
    assert not is_custom("https://api.anthropic.com/")
    assert is_custom("http://127.0.0.1:8000")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:8000")
    assert is_custom(None)
