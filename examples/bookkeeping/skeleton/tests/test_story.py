"""A quarter of a small household from the bank's statement to closed books: the parts work together."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.control import budget_report, parse_budget, reconcile
from ledgerlib.entries import format_entry, parse_entry
from ledgerlib.errors import JournalError
from ledgerlib.journal import parse_journal
from ledgerlib.ledger import closing_entry, register, trial_balance
from ledgerlib.money import Money, allocate
from ledgerlib.periods import parse_period
from ledgerlib.query_eval import run_query
from ledgerlib.reports import balance_sheet, income_statement, query_report, render_report
from ledgerlib.statements import entry_from_statement, export_lines, parse_rule, parse_statement

OPENING = """\
; the books of 2024
2024-01-01 Opening balance
    Assets:Bank  1,000.00 EUR
    Equity:Opening

2024-01-15 Trip to Tokyo #travel
    Expenses:Travel  12,000 JPY
    Liabilities:Card
"""

STATEMENT = """\
Date,Text,Amount,Reference
2024-01-31,ACME monthly pay,"2,500.00",A1
2024-02-01,"Rent, flat 3",(800.00),B2
2024-02-10,Corner  shop,-45.10,C3
2024-02-20,Corner shop,-4.90,D4
2024-03-01,"Rent, flat 3",(800.00),E5
"""

RULES = [
    "shop -> Expenses:Food",
    "corner shop ..5 -> Expenses:Food:Snacks",
    "rent -> Expenses:Rent",
    "pay -> Income:Work",
]


def household():
    journal = parse_journal(OPENING)
    rules = [parse_rule(rule) for rule in RULES]
    for line in parse_statement(STATEMENT):
        journal.append(entry_from_statement(line, rules, "Assets:Bank", "EUR"))
    return journal


def test_the_statement_is_booked_and_reconciles():
    books = household()
    assert [entry.number for entry in books.entries] == [1, 2, 3, 4, 5, 6, 7]
    quarter = parse_period("2024-Q1")
    found = reconcile(books, "Assets:Bank", parse_statement(STATEMENT), quarter, Money(Decimal("1850.00"), "EUR"))
    assert found.difference == 0
    assert [line.number for line in found.matching.only_journal] == [1]
    assert register(books, "Assets:Bank")[-1].balance == Decimal("1850.00")


def test_queries_answer_questions():
    books = household()
    text = (
        'sum(amount), count(*) where type = "expense" group by currency, month order by currency desc, sum(amount) desc'
    )
    assert run_query(books, text).rows == (
        ("JPY", "2024-01", Decimal(12000), 1),
        ("EUR", "2024-02", Decimal("850.00"), 3),
        ("EUR", "2024-03", Decimal("800.00"), 1),
    )
    assert query_report(books, "sum(amount) where account ~ 'Expenses:Food:*'").endswith("       4.90")


def test_reports_agree_and_survive_the_closing():
    books = household()
    quarter = parse_period("2024-Q1")
    before = income_statement(books, quarter, "EUR")
    assert before.result == Decimal("850.00")
    assert balance_sheet(books, quarter.end, "EUR").result == 0
    books.append(closing_entry(books, quarter, "EUR"))
    books.close(quarter.end)
    assert income_statement(books, quarter, "EUR") == before
    rows = trial_balance(books, "EUR", quarter.end)
    assert [row.account for row in rows] == ["Assets:Bank", "Equity:Opening", "Equity:Retained"]
    assert sum(row.debit for row in rows) == sum(row.credit for row in rows) == Decimal("1850.00")
    with pytest.raises(JournalError):
        books.reverse(3, quarter.end)
    assert render_report(before, "EUR").endswith("Result           850.00")


def test_a_reversal_undoes_an_entry():
    books = household()
    books.reverse(4, date(2024, 3, 31))
    quarter = parse_period("2024-Q1")
    assert income_statement(books, quarter, "EUR").result == Decimal("1650.00")
    rows = budget_report(books, parse_budget("Expenses:Rent  800 EUR\nExpenses:Food  50 EUR"), quarter)
    assert [(row.planned, row.actual) for row in rows] == [(2400, 800), (150, Decimal("45.10"))]


def test_books_can_be_written_and_read_again():
    books = household()
    for entry in books.entries:
        again = parse_entry(format_entry(entry))
        assert (again.day, again.payee, again.postings) == (entry.day, entry.payee, entry.postings)
    exported = parse_statement(export_lines(books.lines()).replace("payee", "text"))
    assert [line.value for line in exported] == [line.money.value for line in books.lines()]


def test_a_shared_bill_is_split_without_losing_a_cent():
    books = household()
    parts = allocate(Money(Decimal("100.00"), "EUR"), [1, 1, 1])
    text = "2024-03-05 Dinner\n" + "".join(
        f"    Assets:Friends:P{i}  {part.value} EUR\n" for i, part in enumerate(parts)
    )
    stored = books.append(parse_entry(text + "    Assets:Bank"))
    assert stored.postings[-1].money.value == Decimal("-100.00")
