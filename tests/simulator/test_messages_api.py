import json

import anthropic
import httpx2
import pytest

from mge_ray.simulator import SimulatorConfig, running


async def test_async_client_gets_the_known_answer_in_a_code_block(start):
    message = await start().ask("cart.total")
    assert message.stop_reason == "end_turn"
    assert message.content[0].text.startswith("Here is the implementation of `cart.total`.\n\n```python\ndef total(")
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens == -(-len(message.content[0].text) // 4)


async def test_aiohttp_transport_gets_the_same_answer(start):
    assert (await start(aiohttp=True).ask("tax")).content[0].text.count("```") == 2


def test_sync_client_gets_the_same_answer(answers_file):
    with (
        running(SimulatorConfig(answers=answers_file)) as (url, _),
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client,
    ):
        message = client.messages.create(
            model="claude-haiku-5-5", max_tokens=100, messages=[{"role": "user", "content": "Atom: tax"}]
        )
        assert "RATE = 3" in message.content[0].text


async def test_streamed_answer_equals_the_whole_one(start):
    simulator = start()
    whole, streamed = await simulator.ask("tax"), await simulator.stream("tax")
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.stop_reason == "end_turn"
    assert streamed.usage.output_tokens == whole.usage.output_tokens


async def test_last_atom_line_of_the_last_message_counts(start):
    quoted = "Atom: tax\nDo not confuse it with\nAtom: cart.count\n  Atom: indented is prose"
    message = await start().ask("cart.total", prompt=quoted)
    assert "def total" in message.content[0].text


async def test_unknown_atom_is_answered_without_code(start):
    message = await start().ask("nobody.knows")
    assert message.stop_reason == "end_turn"
    assert "```" not in message.content[0].text


async def test_synthetic_code_answers_unknown_atoms_only(start):
    simulator = start(synthetic="def {symbol}(): ...")
    assert "def cart_tax_2()" in (await simulator.ask("cart.tax-2")).content[0].text
    assert "def total" in (await simulator.ask("cart.total")).content[0].text


async def test_max_tokens_really_cuts(start):
    message = await start().ask("tax", max_tokens=10)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 10
    assert len(message.content[0].text) == 40


async def test_models_are_listed_with_their_names(start):
    simulator = start()
    names = {model.id: model.display_name async for model in simulator.client.models.list()}
    assert names["claude-opus-5-5"] == "Claude Opus 5.5"
    assert (await simulator.client.models.retrieve("claude-haiku-5-5")).display_name == "Claude Haiku 5.5"


async def test_listed_models_alone_exist_when_a_list_is_given(start):
    simulator = start(models=("claude-opus-5-5",))
    assert [model.id async for model in simulator.client.models.list()] == ["claude-opus-5-5"]
    with pytest.raises(anthropic.NotFoundError):
        await simulator.ask(model="claude-sonnet-5-5")


async def test_model_that_does_not_exist_is_not_found(start):
    with pytest.raises(anthropic.NotFoundError) as caught:
        await start().ask(model="not-a-model")
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id.startswith("req_")


async def test_sampling_parameter_is_refused_by_name_in_the_current_version(start):
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        await start().ask(model="claude-sonnet-4-6", extra_body={"temperature": 0.5})


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-haiku-4-5-20251001"])
async def test_older_version_takes_a_temperature_where_the_model_does(start, model):
    old = {"anthropic-version": "2023-06-01"}
    message = await start().ask(model=model, extra_body={"temperature": 0.5}, extra_headers=old)
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("model", "thinking"), [("claude-opus-5-5", "disabled"), ("claude-opus-4-6", "enabled"), ("claude-x", "disabled")]
)
async def test_older_version_refuses_a_temperature_elsewhere(start, model, thinking):
    body = {"temperature": 0.5, "thinking": {"type": thinking}}
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        await start().ask(model=model, extra_body=body, extra_headers={"anthropic-version": "2023-06-01"})


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer"}, {"authorization": "Basic x"}, {"x-api-key": ""}])
def test_request_without_a_key_is_unauthorized(plain_server, minimal, headers):
    response = httpx2.post(
        f"{plain_server}/v1/messages", json=minimal, headers={"anthropic-version": "2026-10-21", **headers}
    )
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert response.json()["request_id"] == response.headers["request-id"]


async def test_invalid_requests_name_what_is_wrong(start, minimal):
    simulator = start(max_body_bytes=10_000)
    user = {"role": "user", "content": "hi"}
    wrong = [
        ("max_tokens", {"max_tokens": None}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_tokens", {"max_tokens": True}),
        ("model", {"model": 7}),
        ("messages", {"messages": []}),
        ("messages.0.role", {"messages": [{"role": "system", "content": "hi"}]}),
        ("messages.0.content", {"messages": [{"role": "user", "content": 5}]}),
        ("messages.0.content", {"messages": [{"role": "user", "content": []}]}),
        ("text", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        ("prefill", {"messages": [user, {"role": "assistant", "content": "def"}]}),
        ("output_config.effort", {"output_config": {"effort": "huge"}}),
        ("system", {"system": [{"type": "image"}]}),
        ("cache_control", {"system": [{"type": "text", "text": "a", "cache_control": {"type": "eternal"}}]}),
        ("messages.0.role", {"messages": [{"role": ["user"], "content": "hi"}]}),
        ("ttl", {"cache_control": {"type": "ephemeral", "ttl": ["5m"]}}),
        ("stream", {"stream": "yes"}),
        ("surprise: Extra inputs", {"surprise": 1}),
    ]
    for expected, change in wrong:
        response = simulator.post({**minimal, **change})
        assert response.status_code == 400, change
        assert response.json()["error"]["type"] == "invalid_request_error"
        assert expected in response.json()["error"]["message"], change
    assert simulator.post(b"{nonsense").status_code == 400
    assert simulator.post(b"[]").status_code == 400
    assert simulator.post(b"[" * 9_000).status_code == 400
    assert simulator.post(minimal, anthropic_version="1999-01-01").status_code == 400
    too_large = simulator.post(json.dumps({**minimal, "system": "x" * 20_000}).encode())
    assert too_large.status_code == 413
    assert too_large.json()["error"]["type"] == "request_too_large"
    stats = simulator.stats()
    assert stats["rejected"] == {"invalid_request_error": len(wrong) + 4, "request_too_large": 1}
    assert stats["billed_answers"] == 0


async def test_answer_to_a_connection_that_closes_counts_as_delivered(start, minimal):
    simulator = start()
    assert simulator.post(minimal, connection="close").status_code == 200
    stats = simulator.stats()
    assert (stats["delivered_answers"], stats["billed_undelivered"]) == (1, {})


async def test_effort_and_block_lists_are_accepted(start):
    block = {"type": "text", "text": "Write it.\nAtom: tax"}
    message = await start().ask(
        system=[{"type": "text", "text": "You write code.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "Atom: cart.count"},
            {"role": "assistant", "content": "def count"},
            {"role": "user", "content": [block]},
        ],
        output_config={"effort": "low"},
    )
    assert "def tax" in message.content[0].text


def test_unknown_paths_are_not_found_and_health_is_open(plain_server):
    assert httpx2.get(f"{plain_server}/healthz").json() == {"status": "ok"}
    assert httpx2.get(f"{plain_server}/v1/nothing").status_code == 404
    assert httpx2.get(f"{plain_server}/v1/models").status_code == 401
