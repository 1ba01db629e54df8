"""Tests of ledgerlib.reports: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.accounts import AccountType
from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import AmountError, QueryError
from ledgerlib.journal import Journal
from ledgerlib.money import Money
from ledgerlib.periods import Period
from ledgerlib.reports import (
    Report,
    Section,
    balance_sheet,
    build_section,
    income_statement,
    query_report,
    render_report,
    text_table,
)


def transfer(number, day, to, source, value, currency="EUR", tags=()):
    amount = Decimal(value)
    postings = (Posting(to, Money(amount, currency)), Posting(source, Money(-amount, currency)))
    return Entry(date.fromisoformat(day), f"Payee {number}", postings, tags, number)


def books():
    return Journal(
        [
            transfer(1, "2024-02-28", "Assets:Bank", "Equity:Opening", "100"),
            transfer(2, "2024-02-29", "Expenses:Food", "Assets:Bank", "10"),
            transfer(3, "2024-03-01", "Expenses:Food:Lunch", "Liabilities:Card", "20"),
            transfer(4, "2024-03-02", "Expenses:Food", "Assets:Bank", "7", "JPY"),
            transfer(5, "2024-03-20", "Assets:Bank", "Income:Work:Pay", "70"),
            transfer(6, "2024-03-31", "Expenses:Rent", "Assets:Bank", "30"),
            transfer(7, "2024-03-31", "Income:Work:Pay", "Equity:Retained", "70", tags=("closing",)),
            transfer(8, "2024-04-01", "Expenses:Rent", "Assets:Bank", "40"),
        ]
    )


class TestTextTable:
    def test_pads_columns_to_the_longest_cell(self):
        table = text_table(
            ["Account", "EUR", "X"], [["Bank", "1,000.00", "yes"], ["Cash register", "5.00", ""]], right=[1]
        )
        assert table.split("\n") == [
            "Account             EUR  X",
            "-------------  --------  ---",
            "Bank           1,000.00  yes",
            "Cash register      5.00",
        ]

    def test_pads_to_the_header_and_without_rows(self):
        assert text_table(["long header", "b"], [["a", "c"]]) == "long header  b\n-----------  -\na            c"
        assert text_table(("month", "n"), ()) == "month  n\n-----  -"

    def test_aligns_the_first_column_on_the_right(self):
        assert text_table(["n", "name"], [["10", "a"]], right=iter([0])) == " n  name\n--  ----\n10  a"


class TestBuildSection:
    BALANCES = {
        "Assets:Bank": Decimal(5),
        "Income:Gifts": Decimal(-3),
        "Income:Work:Bonus": Decimal(2),
        "Income:Work:Pay": Decimal(-70),
    }

    def test_adds_up_the_accounts_of_a_type(self):
        assert build_section(AccountType.INCOME, self.BALANCES) == Section(
            AccountType.INCOME,
            (
                ("Income:Gifts", Decimal(3)),
                ("Income:Work", Decimal(68)),
                ("Income:Work:Bonus", Decimal(-2)),
                ("Income:Work:Pay", Decimal(70)),
            ),
            Decimal(71),
        )
        assert build_section(AccountType.ASSET, self.BALANCES).rows == (("Assets:Bank", Decimal(5)),)

    def test_leaves_out_accounts_that_come_to_zero(self):
        balances = {"Expenses:Food:A": Decimal(4), "Expenses:Food:B": Decimal(-4), "Expenses:Rent": Decimal(9)}
        section = build_section(AccountType.EXPENSE, balances)
        assert [account for account, _ in section.rows] == ["Expenses:Food:A", "Expenses:Food:B", "Expenses:Rent"]
        assert section.total == 9

    def test_is_empty_without_accounts(self):
        assert build_section(AccountType.EQUITY, self.BALANCES) == Section(AccountType.EQUITY, (), Decimal(0))


class TestIncomeStatement:
    def test_shows_what_a_period_earned(self):
        report = income_statement(books(), Period(date(2024, 3, 1), date(2024, 3, 31)), "EUR")
        assert report == Report(
            "Income statement 2024-03-01 to 2024-03-31 (EUR)",
            (
                Section(
                    AccountType.INCOME, (("Income:Work", Decimal(70)), ("Income:Work:Pay", Decimal(70))), Decimal(70)
                ),
                Section(
                    AccountType.EXPENSE,
                    (
                        ("Expenses:Food", Decimal(20)),
                        ("Expenses:Food:Lunch", Decimal(20)),
                        ("Expenses:Rent", Decimal(30)),
                    ),
                    Decimal(50),
                ),
            ),
            Decimal(20),
        )

    def test_looks_at_one_currency(self):
        report = income_statement(books(), Period(date(2024, 1, 1), date(2024, 12, 31)), "JPY")
        assert (report.sections[1].rows, report.result) == ((("Expenses:Food", Decimal(7)),), Decimal(-7))


class TestBalanceSheet:
    def test_adds_what_is_not_closed_to_equity(self):
        report = balance_sheet(books(), date(2024, 3, 31), "EUR")
        assert report == Report(
            "Balance sheet 2024-03-31 (EUR)",
            (
                Section(AccountType.ASSET, (("Assets:Bank", Decimal(130)),), Decimal(130)),
                Section(AccountType.LIABILITY, (("Liabilities:Card", Decimal(20)),), Decimal(20)),
                Section(
                    AccountType.EQUITY,
                    (
                        ("Equity:Earnings", Decimal(-60)),
                        ("Equity:Opening", Decimal(100)),
                        ("Equity:Retained", Decimal(70)),
                    ),
                    Decimal(110),
                ),
            ),
            Decimal(0),
        )

    def test_adds_to_earnings_that_were_booked(self):
        journal = Journal(
            [
                transfer(1, "2024-03-01", "Assets:Bank", "Equity:Earnings", "5"),
                transfer(2, "2024-03-02", "Assets:Bank", "Income:Pay", "3"),
                transfer(3, "2024-03-03", "Assets:Bank", "Income:Pay", "1"),
            ]
        )
        report = balance_sheet(journal, date(2024, 3, 2), "EUR")
        assert report.sections[2].rows == (("Equity:Earnings", Decimal(8)),)

    def test_shows_books_out_of_order(self):
        lost = (
            Posting("Assets:Bank", Money(Decimal(9), "EUR")),
            Posting("Liabilities:Card", Money(Decimal(-2), "EUR")),
        )
        journal = Journal(
            [Entry(date(2024, 3, 1), "Lost", lost, (), 1), transfer(2, "2024-03-01", "Assets:A", "Equity:B", "4")]
        )
        assert balance_sheet(journal, date(2024, 3, 1), "EUR").result == 7


class TestRenderReport:
    REPORT = Report(
        "Some report",
        (
            Section(
                AccountType.INCOME, (("Income:Work", Decimal(1070)), ("Income:Work:Pay", Decimal(1070))), Decimal(1070)
            ),
            Section(AccountType.EXPENSE, (), Decimal(0)),
        ),
        Decimal("-5.5"),
    )

    def test_indents_accounts_and_totals_sections(self):
        assert render_report(self.REPORT, "EUR").split("\n") == [
            "Some report",
            "",
            "Account             EUR",
            "-------------  --------",
            "  Work         1,070.00",
            "    Pay        1,070.00",
            "Total income   1,070.00",
            "Total expense      0.00",
            "Result           (5.50)",
        ]

    def test_uses_the_decimals_of_the_currency(self):
        assert render_report(self.REPORT, "jpy").split("\n")[2:5] == [
            "Account          jpy",
            "-------------  -----",
            "  Work         1,070",
        ]
        with pytest.raises(AmountError):
            render_report(self.REPORT, "XXX")


class TestQueryReport:
    def test_lays_out_the_answer(self):
        text = "sum(amount), count(*), min(date) where account ~ 'expenses:*' and currency = 'EUR' group by account"
        assert query_report(books(), text).split("\n") == [
            "account              sum(amount)  count(*)   min(date)",
            "-------------------  -----------  --------  ----------",
            "Expenses:Food                 10         1  2024-02-29",
            "Expenses:Food:Lunch           20         1  2024-03-01",
            "Expenses:Rent                 70         2  2024-03-31",
        ]

    def test_writes_amounts_with_their_decimals(self):
        journal = Journal([transfer(1, "2024-03-01", "Assets:Bank", "Income:Pay", "1234.500", "KWD")])
        assert query_report(journal, "max(amount), min(amount)").split("\n") == [
            "max(amount)  min(amount)",
            "-----------  -----------",
            "  1,234.500   -1,234.500",
        ]
        assert query_report(journal, "sum(number)").split("\n")[-1] == "          2"

    def test_writes_a_dash_for_nothing(self):
        assert query_report(Journal(), "max(amount), sum(amount)").split("\n")[-1] == "          -            0"

    def test_refuses_what_cannot_be_answered(self):
        with pytest.raises(QueryError):
            query_report(books(), "sum(amount)")
