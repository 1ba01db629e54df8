import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mge_ray.domain.cost import NANO, CostGuardrails, to_nano
from mge_ray.domain.errors import BudgetError
from tests.properties import bounded, driven_far

dollars = st.floats(0, 2)


class Money(RuleBasedStateMachine):
    """Calls are reserved at most at what fits, and bill at most what was reserved."""

    reserved = Bundle("reserved")
    lost = Bundle("lost")

    def __init__(self):
        super().__init__()
        self.money = CostGuardrails(limit_usd=3.0)
        self.calls = 0
        self.billed_nano = 0

    @rule(target=reserved, usd=dollars)
    def reserve(self, usd):
        self.calls += 1
        call = (f"call {self.calls}", usd)
        if self.money.fits(usd):
            self.money.reserve(*call)
        else:
            with pytest.raises(BudgetError, match="does not fit"):
                self.money.reserve(*call)
            return ("never reserved", 0.0)
        return call

    @rule(call=consumes(reserved), share=st.floats(0, 1))
    def settle(self, call, share):
        call_id, usd = call
        if call_id in self.money.reservations:
            self.billed_nano += to_nano(usd * share)
        self.money.settle(call_id, usd * share)
        self.money.settle(call_id, usd)

    @rule(call=consumes(reserved))
    def refund(self, call):
        self.money.refund(call[0])
        self.money.refund(call[0])

    @rule(target=lost, call=consumes(reserved))
    def lose(self, call):
        free_before = self.money.limit_usd - self.money.spent_usd - self.money.unknown_usd - self.money.reserved_usd
        self.money.lose(call[0])
        self.money.refund(call[0])
        free = self.money.limit_usd - self.money.spent_usd - self.money.unknown_usd - self.money.reserved_usd
        assert free == pytest.approx(free_before)
        return call

    @rule(call=consumes(lost), share=st.floats(0, 1))
    def bill_late(self, call, share):
        call_id, usd = call
        if call_id in self.money.lost:
            self.billed_nano += to_nano(usd * share)
        self.money.settle(call_id, usd * share)

    @invariant()
    def the_limit_holds_to_the_last_digit(self):
        money = self.money
        assert min(money.spent_nano, money.reserved_nano, money.unknown_nano) >= 0
        assert money.spent_nano + money.reserved_nano + money.unknown_nano <= to_nano(3.0)

    @invariant()
    def sums_are_what_they_are_made_of(self):
        assert self.money.reserved_nano == sum(self.money.reservations.values())
        assert self.money.unknown_nano == sum(self.money.lost.values())
        assert self.money.spent_nano == self.billed_nano


TestMoney = Money.TestCase
TestMoney.settings = settings(driven_far, max_examples=30)


@bounded
@given(dollars)
def test_amounts_are_rounded_up_by_less_than_a_nano_dollar(usd):
    assert -0.001 <= to_nano(usd) - usd * NANO < 1


def test_amounts_of_whole_nano_dollars_are_exact():
    assert [to_nano(nano / NANO) for nano in (1, 3, 300, 12_345_678_901)] == [1, 3, 300, 12_345_678_901]


@pytest.mark.parametrize("usd", [-0.01, float("nan"), float("inf"), 1e300])
def test_an_amount_that_is_no_amount_is_refused(usd):
    with pytest.raises(BudgetError, match="finite number of US dollars"):
        to_nano(usd)


def test_without_a_limit_everything_fits_and_is_counted():
    money = CostGuardrails()
    money.reserve("a", 1e6)
    money.settle("a", 5e5)
    assert money.fits(1e9)
    assert money.spent_usd == 5e5
    assert not money.soft_limit_reached
    assert "no limit" in money.describe()


def test_a_call_is_reserved_once():
    money = CostGuardrails(limit_usd=1.0)
    money.reserve("a", 0.1)
    with pytest.raises(BudgetError, match="has a reservation already"):
        money.reserve("a", 0.1)
    assert money.reserved_usd == 0.1


def test_settling_twice_changes_nothing():
    money = CostGuardrails(limit_usd=1.0)
    money.reserve("a", 0.5)
    money.settle("a", 0.25)
    money.settle("a", 0.25)
    assert (money.spent_usd, money.reserved_usd) == (0.25, 0.0)


def test_an_unknown_call_settles_nothing():
    money = CostGuardrails()
    money.settle("ghost", 1.0)
    money.lose("ghost")
    assert (money.spent_usd, money.unknown_usd) == (0.0, 0.0)


def test_settling_an_impossible_amount_changes_nothing():
    money = CostGuardrails(limit_usd=1.0)
    money.reserve("a", 0.5)
    with pytest.raises(BudgetError):
        money.settle("a", float("nan"))
    assert money.reserved_usd == 0.5


def test_a_lost_call_stays_counted_until_its_bill_arrives():
    money = CostGuardrails(limit_usd=1.0)
    money.reserve("a", 0.6)
    money.lose("a")
    assert money.unknown_usd == 0.6
    assert not money.fits(0.5)
    money.settle("a", 0.1)
    assert (money.unknown_usd, money.spent_usd) == (0.0, 0.1)
    assert money.fits(0.5)


def test_the_soft_limit_is_reached_at_seventy_per_cent_spent_or_lost():
    money = CostGuardrails(limit_usd=1.0)
    for call_id, usd in (("a", 0.5), ("b", 0.2)):
        money.reserve(call_id, usd)
    money.settle("a", 0.5)
    assert not money.soft_limit_reached
    money.lose("b")
    assert money.soft_limit_reached


def test_the_line_for_people_has_all_four_amounts():
    money = CostGuardrails(limit_usd=2.0)
    money.reserve("a", 0.5)
    assert money.describe() == "spent $0.0000, reserved $0.5000, unknown $0.0000, limit $2.0000"
