"""Two runs of a plan on one store: what the second one buys."""

from __future__ import annotations

import pytest

from mge_ray.domain.events import CoordinatorRestarted
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.reuse import AtomKeys, ReuseSettings, Surroundings
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.memory_reuse import MemoryReuseStore
from mge_ray.execution.ports import JournalUnavailableError, KeptCode, ReuseStore
from mge_ray.execution.recovery import replay
from mge_ray.execution.reuse import FLUSH_FROM, CodeReuse, Reuse
from tests.builders import EXECUTION_ID, PASSED, failed, many, plan, settings
from tests.engines import begun, driven_run, engine
from tests.fakes.clock import ManualClock
from tests.fakes.llm import ScriptedClient
from tests.fakes.validator import RuleValidator

REUSE = ReuseSettings(provider="live", validator="1")


def keys_of(made, wishes):
    return AtomKeys(made, wishes, lambda _atom: Surroundings("", ""))


async def run(store, made, client=None, validator=None, *, wishes=REUSE, **options):
    client = client or ScriptedClient()
    executor = engine(client, validator, reuse=CodeReuse(store, keys_of), **options)
    done = await driven_run(executor, made, reuse=wishes)
    return done.machine, client


def edited(made, atom_id, **fields):
    return plan("x").model_copy(
        update={
            "atoms": tuple(one.model_copy(update=fields) if one.id == atom_id else one for one in made.atoms),
            "execution_plan": made.execution_plan,
        }
    )


class BrokenStore(MemoryReuseStore):
    """A store that is away for `failures` calls, after it has worked for `sound` ones."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.sound = 0
        self.calls = 0

    def _work(self) -> None:
        self.calls += 1
        if self.sound < self.calls <= self.sound + self.failures:
            raise JournalUnavailableError("the store is away")

    async def find(self, keys):
        self._work()
        return await super().find(keys)

    async def keep(self, codes):
        self._work()
        await super().keep(codes)

    async def drop(self, codes):
        self._work()
        await super().drop(codes)


async def test_the_second_run_of_a_plan_buys_nothing_and_has_the_same_code():
    store, made = MemoryReuseStore(), plan("a, b -> c, c -> d")
    first, _ = await run(store, made, ScriptedClient({"c": ["bad\n", "good = 3\n"]}))
    second, client = await run(store, made)
    assert client.asked == []
    assert second.accepted_codes() == first.accepted_codes()
    assert (second.status, second.atoms_reused, second.money.spent_usd) == (ExecutionStatus.COMPLETED, 4, 0.0)
    assert second.atoms["c"].reused.source == str(EXECUTION_ID)
    assert second.atoms["c"].reused.saved_usd == pytest.approx(0.02)


async def test_after_an_edit_its_cone_is_bought_again():
    store, made = MemoryReuseStore(), plan("a -> b -> c, b -> d, e -> f")
    await run(store, made)
    after, client = await run(store, edited(made, "b", description="anew"), ScriptedClient({"b": ["good = 2\n"]}))
    assert sorted(client.atom_ids) == ["b", "c", "d"]
    assert after.atoms_reused == 3


async def test_an_edit_whose_code_comes_out_the_same_stops_there():
    store, made = MemoryReuseStore(), plan("a -> b -> c")
    await run(store, made)
    _, client = await run(store, edited(made, "a", description="anew"))
    assert client.atom_ids == ["a"]


@pytest.mark.parametrize("wishes", [REUSE.model_copy(update={"provider": "simulated"}), None])
async def test_another_provider_or_no_reuse_buys_everything(wishes):
    store, made = MemoryReuseStore(), plan("a -> b")
    await run(store, made)
    _, client = await run(store, made, wishes=wishes)
    assert client.atom_ids == ["a", "b"]


async def test_a_run_without_reuse_keeps_nothing():
    store, made = MemoryReuseStore(), plan("a")
    await run(store, made, wishes=None)
    _, client = await run(store, made)
    assert client.atom_ids == ["a"]


async def test_code_that_failed_is_not_kept_and_what_passed_beside_it_is():
    store, made = MemoryReuseStore(), plan("a, b -> c")
    await run(store, made, ScriptedClient({"b": ["bad\n"]}))
    _, client = await run(store, made)
    assert client.atom_ids == ["b", "c"]


async def test_code_that_a_gate_sends_back_is_dropped_and_its_better_replaces_it():
    store = MemoryReuseStore()
    made = plan("a", files={"tests/test_a.py": ""}, acceptance_tests=("tests",))
    verdict = failed().model_copy(update={"blamed": ("a", "unknown")})

    def acceptance(codes):
        return PASSED if "2" in codes["a"] else verdict

    await run(store, made, ScriptedClient({"a": ["good = 1\n"]}), RuleValidator(acceptance=PASSED))
    after, client = await run(store, made, ScriptedClient({"a": ["good = 2\n"]}), RuleValidator(acceptance=acceptance))
    assert (after.status, client.atom_ids) == (ExecutionStatus.COMPLETED, ["a"])
    last, client = await run(store, made, validator=RuleValidator(acceptance=acceptance))
    assert (last.accepted_codes(), client.asked) == ({"a": "good = 2\n"}, [])


async def test_code_that_was_sent_back_and_kept_for_want_of_better_is_kept_as_it_was():
    store = MemoryReuseStore()
    made = plan("a", files={"tests/test_a.py": ""}, acceptance_tests=("tests",))
    blaming = failed().model_copy(update={"blamed": ("a",)})
    await run(store, made)
    worse, _ = await run(store, made, ScriptedClient({"a": ["bad\n"]}), RuleValidator(acceptance=blaming))
    assert (worse.status, worse.atoms_reused) == (ExecutionStatus.FAILED, 1)
    last, client = await run(store, made)
    assert (last.status, client.asked) == (ExecutionStatus.COMPLETED, [])
    assert last.atoms["a"].reused.saved_usd == pytest.approx(0.01)


async def test_replay_asks_no_store():
    store, made = MemoryReuseStore(), plan("a -> b")
    await run(store, made)
    executor = engine(reuse=CodeReuse(store, keys_of))
    second = await driven_run(executor, made, reuse=REUSE)
    again = replay(EXECUTION_ID, made, executor.journal.events_of(EXECUTION_ID))
    assert again.snapshot() == second.machine.snapshot()


async def test_a_run_that_goes_on_in_another_process_keeps_what_was_accepted_before():
    store, made = MemoryReuseStore(), plan("a, b -> c")
    executor = engine(reuse=CodeReuse(MemoryReuseStore(), keys_of))
    events = (await driven_run(executor, made, reuse=REUSE)) and executor.journal.events_of(EXECUTION_ID)
    machine = ExecutionMachine(EXECUTION_ID, made)
    for event in events:
        if machine.atoms["a"].status.ended and machine.atoms["b"].status.ended:
            break
        machine.handle(event)
    resumed = engine(ScriptedClient(), reuse=CodeReuse(store, keys_of))
    following = resumed.new_run(machine, machine.settings)
    following.epoch = await resumed.journal.create(EXECUTION_ID, made, machine.settings)
    following.feed([CoordinatorRestarted(machine.last_at)])
    await resumed.drive(following)
    _, client = await run(store, made)
    assert client.asked == []


async def test_what_was_taken_over_stays_its_first_executions_after_a_restart():
    store, made = MemoryReuseStore(), plan("a -> b")
    first, _ = await run(store, made)
    executor = engine(reuse=CodeReuse(store, keys_of))
    second = (await driven_run(executor, made, reuse=REUSE)).machine
    await Reuse(second, keys_of(made, REUSE), store).flush(0.0, last=True)
    third, _ = await run(store, made)
    assert third.atoms["b"].reused.saved_usd == first.atoms["b"].cost_usd


async def test_a_pause_when_the_wave_opens_does_not_lose_its_hits():
    store, made = MemoryReuseStore(), plan("a")
    await run(store, made)
    client = ScriptedClient()
    executor = engine(client, reuse=CodeReuse(store, keys_of))
    started = await begun(executor, made, settings(reuse=REUSE))
    started.machine.handle(_pause(started))
    await executor.drive(started)
    started.machine.handle(_resume(started))
    await executor.drive(started)
    assert (started.machine.status, client.asked) == (ExecutionStatus.COMPLETED, [])


def _pause(started):
    from mge_ray.domain.events import PauseRequested  # noqa: PLC0415

    return PauseRequested(started.machine.last_at)


def _resume(started):
    from mge_ray.domain.events import ResumeRequested  # noqa: PLC0415

    return ResumeRequested(started.machine.last_at)


# ---- a store that is away --------------------------------------------------------------------------------------------


async def test_a_store_that_comes_back_is_asked_again_before_anything_is_bought():
    store, made = BrokenStore(0), plan("a -> b")
    await run(store, made)
    store.calls, store.failures = 0, 2
    _, client = await run(store, made)
    assert client.asked == []


async def test_a_store_that_stays_away_is_done_without():
    store = BrokenStore(10**6)
    machine, client = await run(store, plan("a -> b"))
    assert (machine.status, client.atom_ids) == (ExecutionStatus.COMPLETED, ["a", "b"])
    assert store.calls == 3


async def test_what_cannot_be_kept_is_lost_and_the_run_goes_on():
    store = BrokenStore(0)
    executor = engine(ScriptedClient(), reuse=CodeReuse(store, keys_of), clock=ManualClock())
    started = await begun(executor, plan("a"), settings(reuse=REUSE))
    store.sound, store.failures = 1, 1  # the look-up works, what is kept does not
    await executor.drive(started)
    assert started.machine.status is ExecutionStatus.COMPLETED
    _, client = await run(store, plan("a"))
    assert client.atom_ids == ["a"]


async def test_many_accepted_atoms_are_written_before_the_second_is_over():
    store, made = MemoryReuseStore(), many(FLUSH_FROM)
    executor = engine(max_concurrency=1_000, reuse=CodeReuse(store, keys_of), clock=ManualClock())
    done = await driven_run(executor, made, reuse=REUSE)
    keys = keys_of(made, REUSE)
    wanted = [keys.key(one.id, 0, dict).digest for one in made.atoms]
    assert len(await store.find(wanted)) == len(done.machine.atoms)


async def test_settings_of_a_library_are_those_that_reuse_was_made_with():
    store = MemoryReuseStore()
    listed = {"a": plan("a").atoms[0]}
    for expected in (1, 0):
        client = ScriptedClient()
        executor = engine(client, reuse=CodeReuse(store, keys_of, REUSE))
        results = await executor.execute_plan(plan("a").waves, listed)
        assert (results["a"].success, len(client.asked)) == (True, expected)


async def test_the_memory_store_lets_go_of_what_was_used_least_recently():
    store: ReuseStore = MemoryReuseStore(max_entries=2)
    for key in ("a", "b"):
        await store.keep([KeptCode(key, "atom", key, "x")])
    await store.find(["a"])
    await store.keep([KeptCode("c", "atom", "c", "x")])
    assert set(await store.find(["a", "b", "c"])) == {"a", "c"}
