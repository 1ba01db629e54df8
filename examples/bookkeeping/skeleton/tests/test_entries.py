"""Tests of ledgerlib.entries: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.entries import (
    Entry,
    Posting,
    check_entry,
    complete_postings,
    format_entry,
    imbalance,
    parse_entry,
    reverse_entry,
)
from ledgerlib.errors import AccountError, AmountError, DateError, EntryError
from ledgerlib.money import Money


def money(value, currency="EUR"):
    return Money(Decimal(value), currency)


def posting(account, value, currency="EUR"):
    return Posting(account, money(value, currency))


def entry(*postings, payee="Shop", tags=(), number=0):
    return Entry(date(2024, 3, 1), payee, postings, tags, number)


FOOD = posting("Expenses:Food", "12.50")
BANK = posting("Assets:Bank", "-12.50")


class TestImbalance:
    def test_is_empty_for_postings_that_balance(self):
        assert imbalance([FOOD, BANK]) == {}

    def test_is_the_sum_in_each_currency(self):
        postings = [FOOD, posting("Assets:Bank", "-10.00"), posting("Assets:Cash", "7", "JPY")]
        assert imbalance(iter(postings)) == {"EUR": Decimal("2.50"), "JPY": Decimal(7)}


class TestCheckEntry:
    def test_accepts_an_entry_in_order(self):
        assert check_entry(entry(FOOD, BANK)) is None
        yen = (posting("Expenses:Food", "100", "JPY"), posting("Assets:Cash", "-100", "JPY"))
        assert check_entry(entry(FOOD, BANK, *yen)) is None

    @pytest.mark.parametrize("payee", ["", " \t"])
    def test_wants_a_payee(self, payee):
        with pytest.raises(EntryError, match="^entry has no payee$"):
            check_entry(entry(payee=payee))

    @pytest.mark.parametrize("postings", [(), (posting("bad", "0"),)])
    def test_wants_two_postings(self, postings):
        with pytest.raises(EntryError, match="^entry needs at least two postings$"):
            check_entry(entry(*postings))

    def test_wants_accounts_below_a_root(self):
        with pytest.raises(EntryError, match="^cannot post to root account 'Assets'$"):
            check_entry(entry(FOOD, posting("Assets", "0")))
        with pytest.raises(AccountError, match="bad account segment 'bank'"):
            check_entry(entry(FOOD, posting("Assets:bank", "0")))

    def test_wants_amounts_other_than_zero(self):
        with pytest.raises(EntryError, match="^posting to 'Assets:Cash' is zero$"):
            check_entry(entry(FOOD, BANK, posting("Assets:Cash", "0.00", "XYZ")))

    def test_wants_amounts_in_whole_cents(self):
        with pytest.raises(EntryError, match="^posting to 'Expenses:Food' is not rounded$"):
            check_entry(entry(posting("Expenses:Food", "0.125"), posting("Assets:Bank", "-0.125")))
        with pytest.raises(AmountError, match="unknown currency 'XYZ'"):
            check_entry(entry(FOOD, posting("Assets:Bank", "1", "XYZ")))

    def test_wants_a_balance_in_every_currency(self):
        postings = (FOOD, posting("Assets:Bank", "-11.00"), posting("Assets:Cash", "-2", "JPY"))
        with pytest.raises(EntryError, match=r"^entry is out of balance: 1\.50 EUR, -2 JPY$"):
            check_entry(entry(*postings))


class TestCompletePostings:
    def test_fills_in_what_balances_the_others(self):
        pairs = [("Assets:Bank", None), ("Expenses:Food", money("12.50")), ("Expenses:Home", money("1.00"))]
        assert complete_postings(pairs) == (
            posting("Assets:Bank", "-13.50"),
            FOOD,
            posting("Expenses:Home", "1.00"),
        )

    def test_fills_in_one_posting_for_each_currency(self):
        pairs = [("Expenses:Food", money("5", "USD")), ("Assets:Bank", None), ("Expenses:Home", money("3"))]
        assert complete_postings(pairs) == (
            posting("Expenses:Food", "5", "USD"),
            posting("Assets:Bank", "-3"),
            posting("Assets:Bank", "-5", "USD"),
            posting("Expenses:Home", "3"),
        )

    def test_leaves_complete_pairs_as_they_are(self):
        assert complete_postings([("Expenses:Food", money("12.50"))]) == (FOOD,)
        assert complete_postings([]) == ()

    def test_refuses_two_amounts_left_out(self):
        with pytest.raises(EntryError, match="^only one posting may leave out its amount$"):
            complete_postings([("Assets:Bank", None), ("Expenses:Food", money("1")), ("Assets:Cash", None)])

    @pytest.mark.parametrize("others", [[], [("Expenses:Food", money("1")), ("Assets:Cash", money("-1"))]])
    def test_refuses_to_fill_in_nothing(self, others):
        with pytest.raises(EntryError, match="^nothing left to post to 'Assets:Bank'$"):
            complete_postings([*others, ("Assets:Bank", None)])


class TestReverseEntry:
    def test_negates_every_posting(self):
        reversal = reverse_entry(entry(FOOD, BANK, tags=("food",), number=7), date(2024, 4, 2))
        assert reversal == Entry(
            date(2024, 4, 2),
            "Reversal of #7: Shop",
            (posting("Expenses:Food", "-12.50"), posting("Assets:Bank", "12.50")),
            ("food", "reversal"),
            0,
        )

    def test_keeps_currencies(self):
        assert reverse_entry(entry(posting("Assets:Cash", "5", "JPY")), date(2024, 4, 2)).postings == (
            posting("Assets:Cash", "-5", "JPY"),
        )


class TestParseEntry:
    def test_reads_payee_tags_and_postings(self):
        text = "2024-03-01 Corner #food  Shop #weekly\n    Expenses:Food  12.50 EUR\n    Assets:Bank   EUR -12.50\n"
        assert parse_entry(text) == entry(FOOD, BANK, payee="Corner Shop", tags=("food", "weekly"))

    def test_works_out_the_amount_left_out(self):
        assert parse_entry("2024-03-01 Shop\n  Assets:Bank\n  Expenses:Food\t \t€12.50") == entry(BANK, FOOD)

    def test_an_account_ends_at_the_first_wide_gap(self):
        assert parse_entry("2024-03-01 Shop\n  Expenses:Food  12.50   EUR\n  Assets:Bank") == entry(FOOD, BANK)

    def test_ignores_comments_and_blank_lines(self):
        text = "\n; shopping\n\n2024-03-01 Shop ;-)\n  ; half price\n\n  Expenses:Food  12.50 EUR\n \n  Assets:Bank\n\n"
        assert parse_entry(text) == entry(FOOD, BANK, payee="Shop ;-)")

    @pytest.mark.parametrize("text", ["", "\n  \n", " ; nothing\n;"])
    def test_refuses_an_empty_text(self, text):
        with pytest.raises(EntryError, match="^empty entry$"):
            parse_entry(text)

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("1.3.2024 Shop\n  Expenses:Food  1 EUR\n  Assets:Bank", DateError),
            ("2024-03-01 Shop\n  Expenses:Food  1 XYZ\n  Assets:Bank", AmountError),
            ("2024-03-01 Shop\n  Expenses:Food 1 EUR\n  Assets:Bank  1 EUR", AccountError),
            ("2024-03-01 Shop\n  Expenses:Food  1 EUR\n  Assets:Bank  1 EUR", EntryError),
            ("2024-03-01 Shop\n  Food  1 EUR\n  Assets:Bank", AccountError),
            ("2024-03-01 #food\n  Expenses:Food  1 EUR\n  Assets:Bank", EntryError),
            ("2024-03-01 Shop", EntryError),
        ],
    )
    def test_refuses_what_breaks_a_rule(self, text, error):
        with pytest.raises(error):
            parse_entry(text)


class TestFormatEntry:
    def test_aligns_accounts_and_amounts(self):
        shown = entry(posting("Expenses:Food:Lunch", "1012.50"), posting("Assets:Bank", "-1012.50"), tags=("a", "b"))
        assert format_entry(shown) == (
            "2024-03-01 Shop #a #b\n    Expenses:Food:Lunch   1,012.50 EUR\n    Assets:Bank          -1,012.50 EUR"
        )

    def test_pads_to_the_longest_wherever_it_stands(self):
        shown = entry(posting("Assets:Cash", "5", "JPY"), posting("Liabilities:Card", "-100", "JPY"))
        assert format_entry(shown) == "2024-03-01 Shop\n    Assets:Cash          5 JPY\n    Liabilities:Card  -100 JPY"
