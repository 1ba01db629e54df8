"""Tests of ledgerlib.control: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.control import (
    BudgetLine,
    BudgetRow,
    Matching,
    Reconciliation,
    budget_report,
    match_lines,
    parse_budget,
    prorate,
    reconcile,
)
from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import AmountError, StatementError
from ledgerlib.journal import Journal, Line
from ledgerlib.money import Money
from ledgerlib.periods import Period
from ledgerlib.statements import StatementLine


def money(value, currency="EUR"):
    return Money(Decimal(value), currency)


def period(start, end):
    return Period(date.fromisoformat(start), date.fromisoformat(end))


def transfer(number, day, to, source, value, currency="EUR"):
    postings = (Posting(to, money(value, currency)), Posting(source, money(-Decimal(value), currency)))
    return Entry(date.fromisoformat(day), f"Payee {number}", postings, (), number)


def line(number, day, value):
    return Line(number, date(2024, 3, day), f"Payee {number}", "Assets:Bank", money(value))


def bank_line(day, value):
    return StatementLine(date(2024, 3, day), "Text", Decimal(value))


class TestParseBudget:
    def test_reads_a_pattern_and_an_amount_on_each_line(self):
        text = "; plan\nExpenses:Food:*   300 EUR ; all of it\n\n  Expenses:Rent\t€1,000\nexpenses:rent 5 USD\n"
        assert parse_budget(text) == [
            BudgetLine("Expenses:Food:*", money("300.00")),
            BudgetLine("Expenses:Rent", money("1000.00")),
            BudgetLine("expenses:rent", money("5.00", "USD")),
        ]
        assert parse_budget("") == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("Expenses:* 5 EUR\nExpenses:Food", "line 2: no amount"),
            ("Expenses:Food ; 5 EUR", "line 1: no amount"),
            ("Expenses:* 5 EUR\n\nEXPENSES:* 6 EUR", "line 3: 'EXPENSES:*' is planned twice"),
        ],
    )
    def test_refuses_what_is_no_plan(self, text, message):
        with pytest.raises(StatementError) as caught:
            parse_budget(text)
        assert str(caught.value) == message

    def test_refuses_a_bad_amount(self):
        with pytest.raises(AmountError):
            parse_budget("Expenses:Food lots EUR")


class TestProrate:
    @pytest.mark.parametrize(
        ("value", "currency", "start", "end", "expected"),
        [
            ("31", "EUR", "2024-01-01", "2024-02-15", "47.03"),
            ("100", "EUR", "2024-01-01", "2024-12-31", "1200.00"),
            ("29", "EUR", "2024-02-10", "2024-02-10", "1.00"),
            ("28", "EUR", "2023-02-27", "2023-03-01", "2.90"),
            ("1000", "JPY", "2024-04-01", "2024-04-10", "333"),
            ("0.10", "EUR", "2024-01-31", "2024-02-01", "0.01"),
        ],
    )
    def test_counts_days_of_each_month(self, value, currency, start, end, expected):
        assert str(prorate(money(value, currency), period(start, end))) == expected


class TestBudgetReport:
    def test_compares_planned_with_actual(self):
        journal = Journal(
            [
                transfer(1, "2024-02-29", "Expenses:Food", "Assets:Bank", "99"),
                transfer(2, "2024-03-01", "Expenses:Food", "Assets:Bank", "40"),
                transfer(3, "2024-03-15", "Expenses:Food:Lunch", "Assets:Bank", "70.50"),
                transfer(4, "2024-03-15", "Expenses:Food", "Assets:Bank", "5", "USD"),
                transfer(5, "2024-03-31", "Expenses:Food", "Assets:Bank", "-10"),
                transfer(6, "2024-04-01", "Expenses:Food", "Assets:Bank", "99"),
            ]
        )
        budget = [
            BudgetLine("Expenses:*", money("100")),
            BudgetLine("expenses:food", money("31")),
            BudgetLine("Expenses:*", money("9", "USD")),
            BudgetLine("Expenses:Rent", money("500")),
        ]
        assert budget_report(journal, budget, period("2024-03-01", "2024-03-31")) == [
            BudgetRow("Expenses:*", Decimal(100), Decimal("100.50"), Decimal("-0.50")),
            BudgetRow("expenses:food", Decimal(31), Decimal(30), Decimal(1)),
            BudgetRow("Expenses:*", Decimal(9), Decimal(5), Decimal(4)),
            BudgetRow("Expenses:Rent", Decimal(500), Decimal(0), Decimal(500)),
        ]

    def test_plans_for_part_of_a_month(self):
        rows = budget_report(Journal(), [BudgetLine("Expenses:*", money("300"))], period("2024-04-01", "2024-04-03"))
        assert rows == [BudgetRow("Expenses:*", Decimal(30), Decimal(0), Decimal(30))]


class TestMatchLines:
    def matched(self, lines, statement, days=3):
        found = match_lines(lines, statement, days)
        for journal_line, statement_line in found.pairs:
            assert journal_line in lines
            assert statement_line in statement
        return [(one.number, other.day.day) for one, other in found.pairs], [one.number for one in found.only_journal]

    def test_pairs_equal_values(self):
        lines = [line(1, 1, "5.00"), line(2, 1, "-5.00"), line(3, 1, "7.00")]
        statement = [bank_line(2, "7"), bank_line(3, "5"), bank_line(4, "6")]
        assert match_lines(lines, statement, 3) == Matching(
            ((lines[2], statement[0]), (lines[0], statement[1])), (lines[1],), (statement[2],)
        )

    @pytest.mark.parametrize(
        ("day", "days", "paired"),
        [(7, 3, True), (6, 3, False), (13, 3, True), (14, 3, False), (10, 0, True), (11, 0, False)],
    )
    def test_looks_some_days_before_and_after(self, day, days, paired):
        found = match_lines([line(1, day, "5")], [bank_line(10, "5")], days)
        assert (len(found.pairs), len(found.only_journal), len(found.only_statement)) == (
            (1, 0, 0) if paired else (0, 1, 1)
        )

    def test_takes_the_nearest_and_then_the_first(self):
        lines = [line(1, 12, "5"), line(2, 9, "5"), line(3, 11, "5")]
        assert self.matched(lines, [bank_line(10, "5")]) == ([(2, 10)], [1, 3])
        assert self.matched(lines, [bank_line(11, "5"), bank_line(10, "5")]) == ([(3, 11), (2, 10)], [1])

    def test_uses_each_line_once(self):
        lines = [line(1, 9, "5"), line(2, 9, "5")]
        assert self.matched(lines, [bank_line(9, "5"), bank_line(9, "5"), bank_line(9, "5")]) == ([(1, 9), (2, 9)], [])
        assert match_lines([], [bank_line(9, "5")], 3) == Matching((), (), (bank_line(9, "5"),))


class TestReconcile:
    def journal(self):
        return Journal(
            [
                transfer(1, "2024-02-28", "Assets:Bank", "Equity:Opening", "100"),
                transfer(2, "2024-03-01", "Assets:Bank", "Income:Pay", "50"),
                transfer(3, "2024-03-02", "Assets:Bank", "Income:Pay", "50", "USD"),
                transfer(4, "2024-03-03", "Assets:Bank:Sub", "Income:Pay", "50"),
                transfer(5, "2024-03-31", "Expenses:Food", "Assets:Bank", "30"),
                transfer(6, "2024-04-01", "Expenses:Food", "Assets:Bank", "9"),
            ]
        )

    MARCH = period("2024-03-01", "2024-03-31")

    def test_pairs_the_lines_of_the_account(self):
        statement = [bank_line(4, "50"), bank_line(27, "-30")]
        lines = self.journal().lines(self.MARCH)
        assert reconcile(self.journal(), "Assets:Bank", statement, self.MARCH, money("120")) == Reconciliation(
            Matching(((lines[0], statement[0]),), (lines[7],), (statement[1],)), Decimal(0)
        )

    def test_looks_as_far_as_it_is_told(self):
        statement = [bank_line(5, "50")]
        near = reconcile(self.journal(), "Assets:Bank", statement, self.MARCH, money("100.50"))
        far = reconcile(self.journal(), "Assets:Bank", statement, self.MARCH, money("130"), days=4)
        assert (len(near.matching.pairs), near.difference) == (0, Decimal("19.50"))
        assert (len(far.matching.pairs), far.difference) == (1, Decimal(-10))

    def test_knows_an_account_without_lines(self):
        found = reconcile(self.journal(), "Assets:Cash", [], self.MARCH, money("5", "USD"))
        assert found == Reconciliation(Matching((), (), ()), Decimal(-5))
