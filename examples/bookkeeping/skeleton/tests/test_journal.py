"""Tests of ledgerlib.journal: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import EntryError, JournalError
from ledgerlib.journal import Journal, Line, parse_journal
from ledgerlib.money import Money
from ledgerlib.periods import Period


def entry(day, value="5.00", *, payee="Shop", tags=(), number=0):
    amount = Decimal(value)
    postings = (Posting("Expenses:Food", Money(amount, "EUR")), Posting("Assets:Bank", Money(-amount, "EUR")))
    return Entry(date.fromisoformat(day), payee, postings, tags, number)


class TestJournalAppend:
    def test_numbers_entries_from_one(self):
        journal = Journal()
        assert journal.append(entry("2024-03-01")) == entry("2024-03-01", number=1)
        assert journal.append(entry("2024-03-01", tags=("x",), number=9)) == entry("2024-03-01", tags=("x",), number=2)

    def test_goes_on_after_the_largest_number(self):
        journal = Journal([entry("2024-03-01", number=7), entry("2024-03-02", number=3)])
        assert journal.append(entry("2024-03-03")).number == 8

    def test_keeps_entries_in_the_order_of_days_and_numbers(self):
        journal = Journal()
        for day in ("2024-03-05", "2024-03-01", "2024-03-05", "2024-03-03", "2024-03-01"):
            journal.append(entry(day))
        assert [(known.day.day, known.number) for known in journal.entries] == [(1, 2), (1, 5), (3, 4), (5, 1), (5, 3)]

    def test_sorts_by_number_within_a_day(self):
        journal = Journal([entry("2024-03-01", number=7), entry("2024-03-01", number=3)])
        journal.append(entry("2024-03-01"))
        assert [known.number for known in journal.entries] == [3, 7, 8]

    @pytest.mark.parametrize("day", ["2024-03-30", "2024-03-31"])
    def test_refuses_a_closed_day(self, day):
        journal = Journal([entry("2024-01-01", number=1)], date(2024, 3, 31))
        with pytest.raises(JournalError, match="^books are closed until 2024-03-31$"):
            journal.append(entry(day))
        assert journal.entries == [entry("2024-01-01", number=1)]
        assert journal.append(entry("2024-04-01")).number == 2

    def test_refuses_an_entry_that_breaks_a_rule(self):
        journal = Journal()
        with pytest.raises(EntryError):
            journal.append(entry("2024-03-01", "0"))
        assert journal.entries == []


class TestJournalFind:
    def test_finds_by_number(self):
        journal = Journal([entry("2024-03-01", number=2), entry("2024-03-02", number=1), entry("2024-03-03", number=3)])
        assert journal.find(1) is journal.entries[1]
        assert journal.find(2) is journal.entries[0]
        assert journal.find(3) is journal.entries[2]

    @pytest.mark.parametrize("number", [0, 2])
    def test_refuses_an_unknown_number(self, number):
        with pytest.raises(JournalError, match=f"^no entry #{number}$"):
            Journal([entry("2024-03-01", number=1)]).find(number)


class TestJournalClose:
    def test_closes_later_and_later(self):
        journal = Journal()
        for day in (date(2024, 1, 31), date(2024, 1, 31), date(2024, 2, 29)):
            journal.close(day)
            assert journal.closed_until == day

    def test_never_opens_again(self):
        journal = Journal(closed_until=date(2024, 3, 31))
        with pytest.raises(JournalError, match="^books are already closed until 2024-03-31$"):
            journal.close(date(2024, 3, 30))
        assert journal.closed_until == date(2024, 3, 31)


class TestJournalLines:
    def test_gives_a_line_for_each_posting(self):
        journal = Journal(
            [entry("2024-03-01", tags=("food",), number=4), entry("2024-03-02", "-1.00", payee="Refund", number=2)]
        )
        assert journal.lines() == [
            Line(4, date(2024, 3, 1), "Shop", "Expenses:Food", Money(Decimal("5.00"), "EUR"), ("food",)),
            Line(4, date(2024, 3, 1), "Shop", "Assets:Bank", Money(Decimal("-5.00"), "EUR"), ("food",)),
            Line(2, date(2024, 3, 2), "Refund", "Expenses:Food", Money(Decimal("-1.00"), "EUR"), ()),
            Line(2, date(2024, 3, 2), "Refund", "Assets:Bank", Money(Decimal("1.00"), "EUR"), ()),
        ]

    def test_can_be_limited_to_a_period(self):
        journal = Journal([entry(f"2024-03-0{day}", number=day) for day in range(1, 6)])
        lines = journal.lines(Period(date(2024, 3, 2), date(2024, 3, 4)))
        assert [line.number for line in lines] == [2, 2, 3, 3, 4, 4]


class TestJournalReverse:
    def test_books_the_reversal(self):
        journal = Journal([entry("2024-03-01", number=1), entry("2024-03-05", tags=("x",), number=2)])
        stored = journal.reverse(2, date(2024, 3, 5))
        assert stored == entry("2024-03-05", "-5.00", payee="Reversal of #2: Shop", tags=("x", "reversal"), number=3)
        assert journal.entries[2] is stored

    def test_refuses_to_reverse_a_reversal(self):
        journal = Journal([entry("2024-03-05", tags=("x", "reversal"), number=1)])
        with pytest.raises(JournalError, match="^entry #1 is a reversal$"):
            journal.reverse(1, date(2024, 3, 4))

    def test_refuses_a_day_before_the_entry(self):
        journal = Journal([entry("2024-03-05", number=1)])
        with pytest.raises(JournalError, match="^entry #1 is later than 2024-03-04$"):
            journal.reverse(1, date(2024, 3, 4))
        assert len(journal.entries) == 1

    def test_refuses_unknown_numbers_and_closed_days(self):
        journal = Journal([entry("2024-03-05", number=1)], date(2024, 3, 31))
        with pytest.raises(JournalError, match="^no entry #2$"):
            journal.reverse(2, date(2024, 4, 1))
        with pytest.raises(JournalError, match="^books are closed"):
            journal.reverse(1, date(2024, 3, 31))


class TestParseJournal:
    def test_reads_entries_one_after_the_other(self):
        text = (
            "; my books\n\n"
            "2024-03-05 Shop #b\n    Expenses:Food  5 EUR\n\n    ; from the bank\n    Assets:Bank\n"
            "; next\n"
            "2024-03-01 Shop\n\tExpenses:Food  1 EUR\n\tAssets:Bank\n"
        )
        assert parse_journal(text).entries == [
            entry("2024-03-01", "1.00", number=2),
            entry("2024-03-05", "5.00", tags=("b",), number=1),
        ]

    @pytest.mark.parametrize("text", ["", "\n\n", "; nothing\n  ; here\n"])
    def test_a_text_without_entries_is_an_empty_journal(self, text):
        assert parse_journal(text) == Journal()

    def test_refuses_a_posting_without_an_entry(self):
        with pytest.raises(JournalError, match="^line 3: posting without an entry$"):
            parse_journal("; books\n\n  Assets:Bank  1 EUR\n2024-03-01 Shop")

    def test_names_the_line_of_a_bad_entry(self):
        text = "2024-03-01 Shop\n  Expenses:Food  1 EUR\n  Assets:Bank\n\n2024-03-02 Shop\n  Expenses:Food  1x EUR\n"
        with pytest.raises(JournalError, match="^line 5: not an amount: '1x'$"):
            parse_journal(text)
        with pytest.raises(JournalError, match="^line 1: entry needs at least two postings$"):
            parse_journal("2024-03-01 Shop")
