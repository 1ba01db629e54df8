"""The actors' classes and the dispatch as plain objects of this process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid

import pytest
import pytest_asyncio
import ray
from ray.exceptions import ActorUnavailableError, RayError

from mge_ray.adapters.journal import load_events
from mge_ray.adapters.message_request import MessageRequest
from mge_ray.cluster.atom_task import ClusterValidator, Shipment, judge, judge_project, warm_up
from mge_ray.cluster.client import EngineClient
from mge_ray.cluster.concurrency_controller import ConcurrencyController, RayLeases
from mge_ray.cluster.coordinator import ExecutionCoordinator
from mge_ray.cluster.dispatch import RayWork
from mge_ray.cluster.engine import sandbox_level
from mge_ray.cluster.guard import MARK, end_all, marked
from mge_ray.cluster.llm_gateway import LLMGateway, LLMGatewayPool
from mge_ray.cluster.session import CONTROLLER, GATEWAY, NAMESPACE
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import EngineUnavailableError, StateConflictError, UnknownExecutionError
from mge_ray.domain.events import ExecutionStarted
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation
from mge_ray.domain.lease import Lease
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.state import ExecutionStatus
from mge_ray.domain.throttle import CallOutcome
from mge_ray.execution.defaults import SystemClock
from mge_ray.execution.ports import CallContext, CallFailedError
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig
from tests.cluster.conftest import numbered_plan


@pytest_asyncio.fixture
async def gateway(engine):
    made = LLMGateway(engine.config)
    yield made
    await made.close()


def request_for(atom_id: str, call_id: str) -> MessageRequest:
    return MessageRequest(call_id, DEFAULT_MODEL, ("system",), f"Write it.\nAtom: {atom_id}", 512, timeout_s=20.0)


def test_the_controller_grants_renews_and_takes_back():
    config = EngineConfig(engine_id="e", db_url="sqlite://", generate_limit=2, lease_ttl_s=0.2)
    controller = ConcurrencyController(config, checks=1)
    a, b, c = (Lease("run", Pool.GENERATE, name, "sonnet-5").id for name in "abc")
    assert controller.exchange({}, [], "generate", [a, b, c]) == [a, b]
    controller.release("generate", [a])
    assert controller.in_use() == {"generate": 1, "execute": 0}
    time.sleep(0.3)
    assert controller.in_use() == {"generate": 0, "execute": 0}
    controller.renew({"generate": [b]})
    assert controller.in_use() == {"generate": 1, "execute": 0}


def test_the_controller_learns_from_outcomes_and_can_be_retuned():
    controller = ConcurrencyController(EngineConfig(engine_id="e", db_url="sqlite://", generate_limit=40), checks=1)
    limits = {"anthropic-ratelimit-requests-limit": "300", "anthropic-ratelimit-requests-remaining": "200"}
    controller.observe([CallOutcome("sonnet-5", "c", latency_s=1.0, rate_limits=limits)])
    controller.exchange({}, [CallOutcome("sonnet-5", "d", FailureKind.OVERLOADED)], "execute", [])
    (view,) = controller.views()
    assert (view.limit, view.highest, view.requests_per_minute, view.output_tokens_per_minute) == (20, 40, 300, None)
    controller.retune(15)
    (view,) = controller.views()
    assert (view.limit, view.highest) == (15, 15)


async def test_leases_are_refused_while_no_gateway_lives(engine):
    leases = RayLeases(ray.get_actor(CONTROLLER, NAMESPACE), calls_possible=lambda: False)
    assert await leases.try_acquire(Pool.GENERATE, ["x"]) == []
    assert await leases.try_acquire(Pool.EXECUTE, ["x"]) == ["x"]
    await leases.renew({Pool.EXECUTE: ["x"]})
    await leases.release(Pool.EXECUTE, ["x"])


async def test_a_gateway_makes_a_call_once_however_often_it_is_asked(engine, gateway):
    before = engine.stats()["atoms"].get("plain0", {"requests": 0})["requests"]
    me = await gateway.incarnation()
    await gateway.submit("me", [request_for("plain0", "c1"), request_for("plain0", "c1")], me, 1)
    await gateway.submit("me", [request_for("plain0", "c1")], me, 1)
    first = await gateway.collect("me", 20.0, me)
    assert isinstance(first["c1"], Generation)
    await gateway.submit("another life of me", [request_for("plain0", "c1")], me, 1)
    assert await gateway.collect("another life of me", 20.0, me) == first
    assert await gateway.generate(request_for("plain0", "c1")) == first["c1"]
    assert engine.stats()["atoms"]["plain0"]["requests"] == before + 1
    assert await gateway.collect("me", 0.01, me) == {}
    await gateway.acknowledge("me", ["c1"])
    assert await gateway.held() == 1
    await gateway.acknowledge("another life of me", ["c1", "never heard of"])
    assert await gateway.held() == 0
    assert isinstance(await gateway.generate(request_for("plain0", "c2")), Generation)
    assert engine.stats()["atoms"]["plain0"]["requests"] == before + 2
    assert (await gateway.pid(), len(await gateway.incarnation())) == (os.getpid(), 32)


async def test_a_gateway_forgets_a_call_that_was_given_up(engine, gateway):
    me = await gateway.incarnation()
    await gateway.submit("me", [request_for("plain0", "given up")], me, 1)
    await asyncio.sleep(0.05)
    await gateway.acknowledge("me", ["given up"])
    assert (await gateway.held(), await gateway.collect("me", 0.6, me)) == (0, {})


async def test_a_gateway_makes_no_call_that_was_meant_for_its_former_life(engine, gateway):
    await gateway.submit("me", [request_for("plain0", "former")], "a former life", 1)
    assert await gateway.collect("me", 1.0, "a former life") is None
    assert await gateway.held() == 0


async def test_a_gateway_refuses_calls_of_a_former_owner_and_tells_it(engine, gateway):
    me = await gateway.incarnation()
    await gateway.fence("execution", 3)
    await gateway.fence("execution", 2)
    former, now = request_for("plain0", "execution:plain0:1:1"), request_for("plain0", "execution:plain0:1:2")
    await gateway.submit("former", [former], me, 2)
    (refused,) = (await gateway.collect("former", 5.0, me)).values()
    assert (refused.billing, "taken over" in refused.message) == (Billing.NOT_BILLED, True)
    assert await gateway.held() == 0
    await gateway.submit("owner", [now], me, 3)
    assert isinstance((await gateway.collect("owner", 20.0, me))[now.call_id], Generation)


async def test_an_acknowledged_answer_is_not_delivered(engine, gateway):
    me = await gateway.incarnation()
    await gateway.submit("me", [request_for("plain0", "twice")], me, 1)
    assert isinstance(await gateway.generate(request_for("plain0", "twice")), Generation)
    await gateway.acknowledge("me", ["twice"])
    assert await gateway.collect("me", 0.05, me) == {}


async def test_a_gateway_returns_failures_as_answers(engine):
    gateway = LLMGateway(engine.config.model_copy(update={"base_url": "http://127.0.0.1:9"}))
    assert isinstance(await gateway.generate(request_for("plain0", "nobody")), CallFailure)
    await gateway.close()


async def test_the_pool_is_a_client_that_quotes(engine):
    gateway = ray.get_actor(f"{GATEWAY}_0", NAMESPACE)
    pool = LLMGatewayPool([gateway], engine.config.model_copy(update={"require_price": True}))
    assert not pool.available
    assert await pool.refresh() == (await gateway.incarnation.remote(),)
    atom = numbered_plan("plain", 1, 1).atoms[0]
    settings = attempt_policy(engine.config, DEFAULT_MODEL, None).settings(1, atom.complexity)
    call = CallContext(call_id=uuid.uuid4().hex, settings=settings)
    assert 0 < pool.max_cost_usd(atom, [], call=call) < 1
    answer = await pool.generate(atom, [], call=call)
    assert "return 0" in (answer.code or "")
    nowhere = LLMGatewayPool([gateway], engine.config)
    nowhere.send("me", [], "another", 1)
    assert nowhere.collect("me", "another") is None
    unpriced = request_for("plain0", "x")
    assert nowhere.quote_usd(MessageRequest(**{**_fields(unpriced), "model": "unheard-of"})) == 0.0
    with pytest.raises(CallFailedError):
        await pool.generate(atom, [], call=CallContext(call_id="y", settings=_model(settings, "not-a-model")))


def _fields(request: MessageRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__dataclass_fields__}


def _model(settings, model):
    return type(settings)(**{**{n: getattr(settings, n) for n in settings.__dataclass_fields__}, "model": model})


async def test_the_cluster_validator_awaits_verdicts_of_tasks(engine):
    plan = numbered_plan("plain", 1, 1)
    from mge_ray.execution.ports import Candidate  # noqa: PLC0415

    validator = ClusterValidator(engine.config)
    atom = plan.atoms[0]
    good = Candidate(atom, "def plain0() -> int:\n    return 0\n", (), plan.files)
    assert (await validator.validate(good)).passed
    assert not (await validator.accept(plan, {atom.id: "def plain0() -> int:\n    return 1\n"})).passed


def test_checks_unpack_their_shipment_once(engine):
    plan = numbered_plan("plain", 2, 2)
    code = {atom.id: f"def {atom.id}() -> int:\n    return {number}\n" for number, atom in enumerate(plan.atoms)}
    shipment = Shipment(engine.config, ray.put(plan), ray.put(code))
    warm_up(engine.config)
    assert judge(shipment, "plain1", code["plain1"]).passed
    assert not judge(shipment, "plain1", code["plain0"]).passed
    assert judge_project(shipment, 0).passed
    without = Shipment(engine.config.model_copy(update={"checks": False}), shipment.plan, shipment.accepted)
    assert judge(without, "plain1", "nonsense").passed
    assert judge_project(without, 0).passed


async def test_a_coordinator_in_this_process_runs_a_plan_over_ray_wait(engine, tmp_path):
    config = engine.config.model_copy(update={"db_url": f"sqlite:///{tmp_path}/j.db", "driver_pid": os.getpid()})
    gateways = [ray.get_actor(f"{GATEWAY}_0", NAMESPACE)]
    coordinator = ExecutionCoordinator(config, ray.get_actor(CONTROLLER, NAMESPACE), gateways)
    plan = numbered_plan("plain", 4, 2)
    execution_id = await coordinator.start(plan, engine.settings(max_concurrency=3))
    assert (await coordinator.pause(execution_id)).status is ExecutionStatus.PAUSED
    assert (await coordinator.resume(execution_id)).status is ExecutionStatus.RUNNING
    assert (await coordinator.wait(execution_id)).status is ExecutionStatus.COMPLETED
    progress = await coordinator.progress(execution_id)
    assert (progress.state.atoms_succeeded, progress.driving, progress.trouble) == (4, False, "")
    assert len(progress.notices) == progress.next_notice
    assert (await coordinator.progress(execution_id, progress.next_notice)).notices == ()
    assert (await coordinator.report(execution_id)).acceptance_passed
    assert len(await coordinator.accepted_codes(execution_id)) == 4
    assert (await coordinator.wave(execution_id, 1)).atoms_succeeded == 2
    assert (await coordinator.atom(execution_id, "plain0")).attempts == 1
    handled, _ = await coordinator.snapshot(execution_id)
    assert handled == len(load_events(config.db_url, execution_id))
    assert b"v2_" in await coordinator.metrics_text()
    assert (await coordinator.config(), await coordinator.pid()) == (config, os.getpid())
    second = await coordinator.start(plan, engine.settings())
    assert (await coordinator.cancel(second)).status is ExecutionStatus.CANCELLED
    with pytest.raises(StateConflictError):
        await coordinator.resume(second)
    await coordinator.close()


async def test_a_coordinator_stops_buying_when_its_driver_ends(engine, tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220  # waits
    config = engine.config.model_copy(update={"db_url": f"sqlite:///{tmp_path}/j.db", "driver_pid": driver.pid})
    gateways = [ray.get_actor(f"{GATEWAY}_0", NAMESPACE)]
    coordinator = ExecutionCoordinator(config, ray.get_actor(CONTROLLER, NAMESPACE), gateways)
    execution_id = await coordinator.start(numbered_plan("plain", 4, 4), engine.settings())
    driver.communicate(b"\n")
    state = await coordinator.wait(execution_id)
    assert (state.status, state.reason) == (ExecutionStatus.PAUSED, "its driver was killed")
    await coordinator.close()
    late = ExecutionCoordinator(config, ray.get_actor(CONTROLLER, NAMESPACE), gateways)
    assert (await late.config()).driver_pid == driver.pid
    await asyncio.sleep(0.2)
    await late.close()


def test_the_client_raises_what_the_coordinator_means(engine):
    with pytest.raises(UnknownExecutionError):
        engine.client.state(uuid.uuid4())


def test_a_client_of_an_engine_that_is_gone_says_so(ray_mark):
    class Gone:
        async def state(self, execution_id):
            return execution_id

    actor = ray.remote(num_cpus=0)(Gone).remote()
    ray.kill(actor)
    with pytest.raises(EngineUnavailableError, match="gone"):
        EngineClient(actor).state(uuid.uuid4())
    assert issubclass(ray.exceptions.ActorDiedError, RayError)


def test_isolation_is_probed_where_checks_run(engine):
    assert sandbox_level(None).value == sandbox_level("bubblewrap").value == "bubblewrap"


def test_joining_nothing_is_one_clear_line(tmp_path):
    script = (
        "from mge_ray.cluster.session import SessionError, joined_session\n"
        "try:\n"
        "    with joined_session('127.0.0.1:1'):\n"
        "        pass\n"
        "except SessionError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert "127.0.0.1:1" in done.stdout.splitlines()[-1], done


def test_the_guard_ends_what_carries_the_mark_and_nothing_else(tmp_path):
    mark = uuid.uuid4().hex
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleep, env={**os.environ, MARK: mark})
    holding = subprocess.Popen(
        [sys.executable, "-c", f"import time; f = open({str(tmp_path / 'log')!r}, 'w'); time.sleep(60)"]
    )
    foreign = subprocess.Popen(sleep)
    spared = {os.getpid()}
    deadline = time.monotonic() + 20
    while set(marked(mark, str(tmp_path), spared)) != {ours.pid, holding.pid} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(marked(mark, str(tmp_path), spared)) == {ours.pid, holding.pid}
    end_all(mark, str(tmp_path), spared)
    assert (ours.wait(10), holding.wait(10)) == (-15, -15)
    assert foreign.poll() is None
    foreign.kill()
    foreign.wait()


def test_equal_configurations_share_an_engine():
    one = EngineConfig(engine_id="1", db_url="sqlite:///x", driver_pid=1)
    assert one.comparable() == one.model_copy(update={"engine_id": "2", "driver_pid": None}).comparable()
    assert (one.gateways(2), one.model_copy(update={"generate_limit": 1000}).gateways(64)) == (2, 16)
    assert json.loads(one.model_dump_json())["checks"]


class BrokenLine:
    """The pool's front, over a line that loses the first message of calls and the first answers to them."""

    def __init__(self, pool: LLMGatewayPool) -> None:
        self._pool = pool
        self.sent: list[list[str]] = []
        self.collected = 0

    def __getattr__(self, name: str):
        return getattr(self._pool, name)

    def send(self, caller, requests, incarnation, epoch):
        self.sent.append([request.call_id for request in requests])
        if len(self.sent) > 1:
            self._pool.send(caller, requests, incarnation, epoch)

    def collect(self, caller, incarnation):
        self.collected += 1
        if self.collected > 1:
            return self._pool.collect(caller, incarnation)
        return ray.put(ActorUnavailableError("the line broke", None))


async def test_calls_lost_with_the_line_are_handed_over_again_and_made_once(engine):
    plan = numbered_plan("plain", 4, 1)
    pool = LLMGatewayPool([ray.get_actor(f"{GATEWAY}_0", NAMESPACE)], engine.config)
    line = BrokenLine(pool)
    machine = ExecutionMachine(uuid.uuid4(), plan)
    (incarnation,) = await pool.refresh()
    machine.handle(ExecutionStarted(time.time(), engine.settings()))
    work = RayWork(machine, line, engine.config, clock=SystemClock())
    before = engine.stats()["atoms"].get("plain3", {"requests": 0})["requests"]
    call = machine.preview("plain3", gateway=incarnation)
    assert work.quote_usd(call) > 0
    work.submit(call)
    events = []
    deadline = time.monotonic() + 20
    while not events and time.monotonic() < deadline:
        events = await work.wait_any(0.1)
    assert [(event.kind, event.call_id) for event in events] == [("generation_arrived", call.call_id)]
    assert line.sent == [[call.call_id], [call.call_id]]
    assert line.collected == 2
    assert engine.stats()["atoms"]["plain3"]["requests"] == before + 1
