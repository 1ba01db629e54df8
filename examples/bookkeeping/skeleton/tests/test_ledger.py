"""Tests of ledgerlib.ledger: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import EntryError
from ledgerlib.journal import Journal, Line
from ledgerlib.ledger import (
    RegisterRow,
    RunningBalance,
    TrialRow,
    account_balances,
    closing_entry,
    register,
    trial_balance,
)
from ledgerlib.money import Money
from ledgerlib.periods import Period

MARCH = Period(date(2024, 3, 1), date(2024, 3, 31))


def money(value, currency="EUR"):
    return Money(Decimal(value), currency)


def line(account, value, currency="EUR"):
    return Line(1, date(2024, 3, 1), "Shop", account, money(value, currency))


def transfer(number, day, to, source, value, currency="EUR"):
    postings = (Posting(to, money(value, currency)), Posting(source, money(-Decimal(value), currency)))
    return Entry(date.fromisoformat(day), f"Payee {number}", postings, (), number)


def books():
    return Journal(
        [
            transfer(1, "2024-02-28", "Assets:Bank", "Equity:Opening", "100"),
            transfer(2, "2024-02-29", "Expenses:Food", "Assets:Bank", "10"),
            transfer(3, "2024-03-01", "Expenses:Food", "Assets:Cash", "7", "JPY"),
            transfer(4, "2024-03-05", "Expenses:Food", "Assets:Bank", "20"),
            transfer(5, "2024-03-20", "Assets:Bank", "Income:Pay", "55"),
            transfer(6, "2024-03-31", "Expenses:Rent", "Assets:Bank", "30"),
            transfer(7, "2024-04-01", "Expenses:Food", "Assets:Bank", "40"),
        ]
    )


class TestRunningBalance:
    def test_follows_each_currency(self):
        running = RunningBalance()
        assert running.add(money("5.50")) == Decimal("5.50")
        assert running.add(money("3", "JPY")) == Decimal(3)
        assert running.add(money("-7")) == Decimal("-1.50")
        assert running.balance("EUR") == Decimal("-1.50")
        assert running.balance("JPY") == Decimal(3)

    def test_starts_at_zero(self):
        assert RunningBalance().balance("EUR") == Decimal(0)
        assert RunningBalance().open_currencies() == []

    def test_lists_the_currencies_that_are_open(self):
        running = RunningBalance()
        for amount in (money("1", "USD"), money("2"), money("1", "JPY"), money("-1", "JPY"), money("-5", "CHF")):
            running.add(amount)
        assert running.open_currencies() == ["CHF", "EUR", "USD"]


class TestAccountBalances:
    def test_adds_up_one_currency_in_alphabetical_order(self):
        lines = [
            line("Income:Pay", "-3"),
            line("Assets:Bank", "5"),
            line("Assets:Bank", "1.5"),
            line("Assets:Bank", "9", "USD"),
        ]
        assert list(account_balances(iter(lines), "EUR").items()) == [
            ("Assets:Bank", Decimal("6.5")),
            ("Income:Pay", Decimal(-3)),
        ]

    def test_leaves_out_what_cancels(self):
        lines = [line("Assets:Bank", "5"), line("Assets:Cash", "1"), line("Assets:Bank", "-5")]
        assert account_balances(lines, "EUR") == {"Assets:Cash": Decimal(1)}


class TestRegister:
    def test_follows_the_accounts_that_match(self):
        rows = register(books(), "assets:*")
        assert [(row.line.number, row.balance) for row in rows] == [
            (1, 100), (2, 90), (3, -7), (4, 70), (5, 125), (6, 95), (7, 55),
        ]  # fmt: skip
        assert rows[0] == RegisterRow(books().lines()[0], Decimal(100))

    def test_a_period_starts_with_what_was_before(self):
        rows = register(books(), "Expenses:Food", MARCH)
        assert [(row.line.number, row.balance) for row in rows] == [(3, 7), (4, 30)]

    def test_other_accounts_are_left_out(self):
        assert register(books(), "Expenses:Fuel") == []


class TestTrialBalance:
    def test_shows_debits_and_credits(self):
        assert trial_balance(books(), "EUR", date(2024, 3, 31)) == [
            TrialRow("Assets:Bank", Decimal(95), Decimal(0)),
            TrialRow("Equity:Opening", Decimal(0), Decimal(100)),
            TrialRow("Expenses:Food", Decimal(30), Decimal(0)),
            TrialRow("Expenses:Rent", Decimal(30), Decimal(0)),
            TrialRow("Income:Pay", Decimal(0), Decimal(55)),
        ]

    def test_looks_at_one_currency_until_a_day(self):
        assert trial_balance(books(), "JPY", date(2024, 3, 1)) == [
            TrialRow("Assets:Cash", Decimal(0), Decimal(7)),
            TrialRow("Expenses:Food", Decimal(7), Decimal(0)),
        ]
        assert trial_balance(books(), "JPY", date(2024, 2, 29)) == []


class TestClosingEntry:
    def test_moves_income_and_expenses_to_equity(self):
        assert closing_entry(books(), MARCH, "EUR") == Entry(
            date(2024, 3, 31),
            "Closing",
            (
                Posting("Expenses:Food", money("-20")),
                Posting("Expenses:Rent", money("-30")),
                Posting("Income:Pay", money("55")),
                Posting("Equity:Retained", money("-5")),
            ),
            ("closing",),
        )

    def test_moves_to_the_account_that_is_asked_for(self):
        february = Period(date(2024, 2, 1), date(2024, 2, 29))
        assert closing_entry(books(), february, "EUR", into="Equity:Loss").postings == (
            Posting("Expenses:Food", money("-10")),
            Posting("Equity:Loss", money("10")),
        )

    def test_leaves_out_a_result_of_zero(self):
        journal = Journal([transfer(1, "2024-03-02", "Expenses:Fees", "Income:Pay", "5")])
        assert closing_entry(journal, MARCH, "EUR").postings == (
            Posting("Expenses:Fees", money("-5")),
            Posting("Income:Pay", money("5")),
        )

    def test_refuses_to_move_nothing(self):
        with pytest.raises(EntryError, match="^nothing to close in USD$"):
            closing_entry(books(), MARCH, "USD")
