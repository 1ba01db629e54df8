"""Tests of ledgerlib.accounts: one class for each function."""

from decimal import Decimal

import pytest

from ledgerlib.accounts import (
    AccountType,
    account_type,
    ancestors,
    match_account,
    natural_balance,
    roll_up,
    split_account,
)
from ledgerlib.errors import AccountError


class TestSplitAccount:
    @pytest.mark.parametrize(
        ("name", "segments"),
        [
            ("Assets", ("Assets",)),
            ("Assets:Bank", ("Assets", "Bank")),
            ("Expenses:Food-2:401k:X", ("Expenses", "Food-2", "401k", "X")),
        ],
    )
    def test_cuts_at_colons(self, name, segments):
        assert split_account(name) == segments

    @pytest.mark.parametrize(
        ("name", "root"), [("Cash:Till", "Cash"), ("assets:Bank", "assets"), ("", ""), ("Foo:bad one", "Foo")]
    )
    def test_refuses_an_unknown_root(self, name, root):
        with pytest.raises(AccountError) as caught:
            split_account(name)
        assert str(caught.value) == f"unknown account root {root!r} in {name!r}"

    @pytest.mark.parametrize(
        ("name", "segment"),
        [
            ("Assets:till", "till"),
            ("Assets:", ""),
            ("Assets::Bank", ""),
            ("Assets:Ok:My Bank:x", "My Bank"),
            ("Assets:-A", "-A"),
        ],
    )
    def test_refuses_a_bad_segment(self, name, segment):
        with pytest.raises(AccountError) as caught:
            split_account(name)
        assert str(caught.value) == f"bad account segment {segment!r} in {name!r}"


class TestAccountType:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("Assets:Bank", AccountType.ASSET),
            ("Liabilities:Card:Gold", AccountType.LIABILITY),
            ("Equity", AccountType.EQUITY),
            ("Income:Pay", AccountType.INCOME),
            ("Expenses:Food", AccountType.EXPENSE),
        ],
    )
    def test_the_root_says_the_type(self, name, kind):
        assert account_type(name) is kind

    @pytest.mark.parametrize("name", ["Food", "Expenses:food"])
    def test_refuses_a_bad_name(self, name):
        with pytest.raises(AccountError):
            account_type(name)


class TestNaturalBalance:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [("Assets:Bank", -5), ("Expenses:Food", -5), ("Liabilities:Card", 5), ("Equity:Open", 5), ("Income:Pay", 5)],
    )
    def test_credit_accounts_read_the_other_way(self, name, expected):
        assert natural_balance(name, Decimal(-5)) == expected


class TestAncestors:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("Assets", []),
            ("Assets:Bank", ["Assets"]),
            ("Assets:Bank:Giro:Sub", ["Assets", "Assets:Bank", "Assets:Bank:Giro"]),
        ],
    )
    def test_lists_the_accounts_above_root_first(self, name, expected):
        assert ancestors(name) == expected

    def test_refuses_a_bad_name(self):
        with pytest.raises(AccountError):
            ancestors("Cash:Till")


class TestMatchAccount:
    @pytest.mark.parametrize(
        ("pattern", "name"),
        [
            ("Expenses:Food", "Expenses:Food"),
            ("expenses:FOOD", "Expenses:Food"),
            ("Expenses:*", "Expenses:Food"),
            ("Expenses:*", "Expenses:Food:Lunch:Late"),
            ("*", "Assets"),
            ("*", "Assets:Bank"),
            ("Expenses:F*", "Expenses:Food"),
            ("*:Food", "Expenses:Food"),
            ("*:Food:*", "Expenses:Food:Lunch"),
            ("Expenses:*:Lunch", "Expenses:Food:Lunch"),
            ("Expenses:F??d", "Expenses:Food"),
            ("Expenses:[FG]ood", "Expenses:Good"),
        ],
    )
    def test_matches(self, pattern, name):
        assert match_account(pattern, name) is True

    @pytest.mark.parametrize(
        ("pattern", "name"),
        [
            ("Expenses:Food", "Expenses:Foo"),
            ("Expenses", "Expenses:Food"),
            ("Expenses:*", "Expenses"),
            ("Expenses:*", "Assets:Food"),
            ("Expenses:F*", "Expenses:Food:Lunch"),
            ("Expenses:F*", "Expenses:Fun:Food"),
            ("Expenses:*:Lunch", "Expenses:Food:Late:Lunch"),
            ("*:Food", "Expenses:Home:Food"),
            ("Expenses:Food:*", "Expenses:Food"),
            ("Food", "Expenses:Food"),
        ],
    )
    def test_does_not_match(self, pattern, name):
        assert match_account(pattern, name) is False


class TestRollUp:
    def test_adds_each_balance_to_all_accounts_above(self):
        balances = {
            "Expenses:Food:Lunch": Decimal(4),
            "Assets:Bank": Decimal(5),
            "Expenses:Food": Decimal("1.5"),
            "Expenses:Home": Decimal(2),
            "Assets": Decimal(1),
        }
        assert list(roll_up(balances).items()) == [
            ("Assets", Decimal(6)),
            ("Assets:Bank", Decimal(5)),
            ("Expenses", Decimal("7.5")),
            ("Expenses:Food", Decimal("5.5")),
            ("Expenses:Food:Lunch", Decimal(4)),
            ("Expenses:Home", Decimal(2)),
        ]

    def test_keeps_accounts_that_come_to_zero(self):
        assert roll_up({"Assets:A": Decimal(1), "Assets:B": Decimal(-1)})["Assets"] == 0
        assert roll_up({}) == {}
