"""One limit over several ledgers, to the nano-dollar."""

from uuid import UUID

import pytest

from mge_ray.domain.access import TenantError, checked_tenant
from mge_ray.domain.cost import NANO, CostGuardrails
from mge_ray.domain.tenants import Sums, TenantAccount, TenantStanding

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def account(limit_usd=1.0, since=0.0, **executions):
    made = TenantAccount("acme")
    made.update(TenantStanding(limit_usd, since, executions.get("known", {})))
    return made


def hold(made, execution_id, *, began_at=1.0, moves=True):
    money = CostGuardrails()
    made.hold(execution_id, money, began_at=began_at, moves=lambda: moves)
    return money


def test_spent_reserved_and_unknown_of_all_count_to_the_last_nano_dollar():
    made = account(known={C: Sums(100, 200, 300)})
    first, second = hold(made, A), hold(made, B)
    first.reserve("a", 0.25)
    first.settle("a", 0.125)
    second.reserve("b", 0.5)
    second.lose("b")
    second.reserve("c", 0.25)
    assert made.sums == Sums(NANO // 8 + 100, NANO // 4 + 200, NANO // 2 + 300)
    left = NANO - made.sums.committed
    assert made.fits(left / NANO)
    assert not made.fits((left + 1) / NANO)


def test_what_is_held_counts_by_its_own_ledger_and_not_by_what_was_stored():
    made = account(known={A: Sums(7, 0, 0)})
    hold(made, A).reserve("a", 0.25)
    assert made.sums == Sums(0, NANO // 4, 0)
    made.update(TenantStanding(1.0, 0.0, {A: Sums(7, 0, 0), B: Sums(5, 0, 0)}))
    assert made.sums == Sums(5, NANO // 4, 0)


def test_what_began_before_the_period_does_not_count():
    made = account(since=10.0, known={B: Sums(3, 0, 0)})
    hold(made, A, began_at=9.0).reserve("a", 5.0)
    hold(made, B, began_at=9.0).reserve("b", 0.25)  # the journal says that it counts
    hold(made, C, began_at=10.0).reserve("c", 0.5)
    assert made.sums == Sums(0, 3 * NANO // 4, 0)


def test_only_what_is_in_flight_here_may_leave_room_later():
    made = account(known={C: Sums(0, NANO // 4, 0)})
    hold(made, A).reserve("a", 0.25)
    hold(made, B, moves=False).reserve("b", 0.25)
    assert (made.fits(0.25), made.fits(0.5)) == (True, False)
    assert (made.may_fit_later(0.5), made.may_fit_later(0.51)) == (True, False)


def test_without_a_limit_everything_fits():
    made = account(None)
    hold(made, A).reserve("a", 1e6)
    assert made.fits(1e6)
    assert made.may_fit_later(1e6)
    assert not made.soft_limit_to_tell()
    assert "no limit" in made.describe()


def test_the_soft_limit_is_told_once_for_each_limit():
    made = account()
    assert not made.soft_limit_to_tell()
    money = hold(made, A)
    money.reserve("a", 0.7)
    assert not made.soft_limit_to_tell()
    money.lose("a")
    assert [made.soft_limit_to_tell(), made.soft_limit_to_tell()] == [True, False]
    made.change_limit(0.9, 0.0)
    assert [made.soft_limit_to_tell(), made.soft_limit_to_tell()] == [True, False]
    made.change_limit(2.0, 0.0)
    assert not made.soft_limit_to_tell()


def test_an_account_describes_itself():
    made = account(2.5, since=86_400.0, known={A: Sums(NANO, NANO // 2, 1)})
    assert made.describe() == (
        "tenant acme: spent $1.0000, reserved $0.5000, unknown $0.0000, limit $2.5000 since 1970-01-02"
    )


@pytest.mark.parametrize("name", ["a b", "-a", "a" * 65, "a\n", "é"])
def test_not_every_text_is_a_tenants_name(name):
    with pytest.raises(TenantError, match="no tenant's name"):
        checked_tenant(name)


@pytest.mark.parametrize("name", ["", "a", "A-1.b_c", "a" * 64])
def test_a_tenants_name_is_short_and_plain(name):
    assert checked_tenant(name) == name
