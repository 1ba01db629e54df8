"""Tests of ledgerlib.money: one class for each function."""

from decimal import Decimal

import pytest

from ledgerlib.errors import AmountError
from ledgerlib.money import (
    CURRENCIES,
    Money,
    allocate,
    format_amount,
    format_money,
    lookup_currency,
    parse_amount,
    parse_money,
    round_amount,
    sum_by_currency,
)


class TestLookupCurrency:
    @pytest.mark.parametrize("code", ["KWD", "kwd", " Kwd\t"])
    def test_finds_a_code_in_any_case(self, code):
        assert lookup_currency(code) is CURRENCIES["KWD"]

    @pytest.mark.parametrize("code", ["", "EURO", "€"])
    def test_refuses_an_unknown_code(self, code):
        with pytest.raises(AmountError, match=f"^unknown currency '{code}'$"):
            lookup_currency(code)


class TestRoundAmount:
    @pytest.mark.parametrize(
        ("value", "currency", "expected"),
        [
            ("0.124", "EUR", "0.12"),
            ("0.125", "EUR", "0.13"),
            ("-0.125", "EUR", "-0.13"),
            ("0.135", "eur", "0.14"),
            ("1", "EUR", "1.00"),
            ("1.5", "JPY", "2"),
            ("2.5", "JPY", "3"),
            ("1.0005", "KWD", "1.001"),
        ],
    )
    def test_rounds_half_away_from_zero(self, value, currency, expected):
        assert str(round_amount(Decimal(value), currency)) == expected

    @pytest.mark.parametrize("value", ["0", "-0.001", "-0.00"])
    def test_zero_has_no_sign(self, value):
        assert str(round_amount(Decimal(value), "EUR")) == "0.00"

    def test_refuses_an_unknown_currency(self):
        with pytest.raises(AmountError):
            round_amount(Decimal(1), "XXX")


class TestParseAmount:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("12", "12"),
            ("1.50", "1.50"),
            (" 1,234,567.8 ", "1234567.8"),
            ("12,345", "12345"),
            ("+3", "3"),
            ("-3.25", "-3.25"),
            ("- 3", "-3"),
            ("3-", "-3"),
            ("3 -", "-3"),
            ("12.50-", "-12.50"),
            ("(3.10)", "-3.10"),
            ("( 3 )", "-3"),
            ("1234567.5", "1234567.5"),
        ],
    )
    def test_reads_every_way_to_write_an_amount(self, text, expected):
        assert str(parse_amount(text)) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "-",
            "()",
            "abc",
            "1,23",
            "1234,567",
            ",123",
            "1.",
            ".5",
            "1.2.3",
            "-3-",
            "(-3)",
            "+-3",
            "(33",
            "33)",
            "3+",
            "1 2",
            "1e3",
        ],
    )
    def test_refuses_what_is_no_amount(self, text):
        with pytest.raises(AmountError) as caught:
            parse_amount(text)
        assert str(caught.value) == f"not an amount: {text!r}"

    def test_shows_the_text_as_given(self):
        with pytest.raises(AmountError, match=r"^not an amount: ' -x '$"):
            parse_amount(" -x ")


class TestParseMoney:
    @pytest.mark.parametrize(
        ("text", "value", "currency"),
        [
            ("12.50 EUR", "12.50", "EUR"),
            ("EUR 12.50", "12.50", "EUR"),
            (" 12.5 eur ", "12.50", "EUR"),
            ("usd -1,000", "-1000.00", "USD"),
            ("€12.50", "12.50", "EUR"),
            ("$ -3", "-3.00", "USD"),
            ("¥500", "500", "JPY"),
            ("£(2)", "-2.00", "GBP"),
            ("- 3 CHF", "-3.00", "CHF"),
            ("1.500 EUR", "1.50", "EUR"),
            ("0.125 KWD", "0.125", "KWD"),
        ],
    )
    def test_reads_all_three_forms(self, text, value, currency):
        money = parse_money(text)
        assert (str(money.value), money.currency) == (value, currency)

    def test_refuses_too_many_decimals(self):
        with pytest.raises(AmountError, match=r"^' 1\.234 EUR' has more than 2 decimals$"):
            parse_money(" 1.234 EUR")
        with pytest.raises(AmountError, match="has more than 0 decimals"):
            parse_money("¥1.5")

    @pytest.mark.parametrize("text", ["", "12.50", "EUR", "12.50 XYZ", "XYZ 12.50", "12.50 €", "x EUR"])
    def test_refuses_what_lacks_amount_or_currency(self, text):
        with pytest.raises(AmountError):
            parse_money(text)


class TestFormatAmount:
    @pytest.mark.parametrize(
        ("value", "digits", "expected"),
        [
            ("0", 2, "0.00"),
            ("1234.5", 2, "1,234.50"),
            ("-1234567.891", 2, "-1,234,567.89"),
            ("0.5", 0, "1"),
            ("999.995", 2, "1,000.00"),
            ("-0.004", 2, "0.00"),
            ("-0.005", 2, "-0.01"),
            ("12", 3, "12.000"),
        ],
    )
    def test_writes_groups_and_decimals(self, value, digits, expected):
        assert format_amount(Decimal(value), digits) == expected

    @pytest.mark.parametrize(
        ("value", "expected"), [("-1234.5", "(1,234.50)"), ("1234.5", "1,234.50"), ("-0.001", "0.00"), ("0", "0.00")]
    )
    def test_writes_negative_values_in_parentheses_for_accountants(self, value, expected):
        assert format_amount(Decimal(value), 2, accounting=True) == expected


class TestFormatMoney:
    @pytest.mark.parametrize(
        ("value", "currency", "expected"),
        [("-1234.5", "eur", "-1,234.50 EUR"), ("1500", "JPY", "1,500 JPY"), ("1", "KWD", "1.000 KWD")],
    )
    def test_uses_the_decimals_of_the_currency(self, value, currency, expected):
        assert format_money(Money(Decimal(value), currency)) == expected


class TestAllocate:
    @pytest.mark.parametrize(
        ("value", "currency", "weights", "expected"),
        [
            ("100.00", "EUR", [1, 1, 1], ["33.34", "33.33", "33.33"]),
            ("0.05", "EUR", [3, 7], ["0.02", "0.03"]),
            ("10", "JPY", [1, 2, 4], ["1", "3", "6"]),
            ("100", "JPY", [3, 3, 1], ["43", "43", "14"]),
            ("-100.00", "EUR", [1, 1, 1], ["-33.34", "-33.33", "-33.33"]),
            ("1.000", "KWD", [0, 2, 1], ["0.000", "0.667", "0.333"]),
            ("7.00", "EUR", [5], ["7.00"]),
            ("0.00", "EUR", [1, 2], ["0.00", "0.00"]),
            ("0.02", "EUR", [1, 1, 1, 1], ["0.01", "0.01", "0.00", "0.00"]),
        ],
    )
    def test_gives_what_is_left_to_the_largest_remainders(self, value, currency, weights, expected):
        parts = allocate(Money(Decimal(value), currency), weights)
        assert [str(part.value) for part in parts] == expected
        assert {part.currency for part in parts} == {currency}

    @pytest.mark.parametrize("weights", [[], [0, 0], [2, -1], [-1]])
    def test_refuses_weights_that_make_no_sense(self, weights):
        with pytest.raises(AmountError, match="^weights must be non-negative and not all zero$"):
            allocate(Money(Decimal(1), "EUR"), weights)


class TestSumByCurrency:
    def test_adds_up_each_currency_in_alphabetical_order(self):
        amounts = [Money(Decimal("2"), "USD"), Money(Decimal("1.5"), "EUR"), Money(Decimal("0.25"), "EUR")]
        assert list(sum_by_currency(amounts).items()) == [("EUR", Decimal("1.75")), ("USD", Decimal(2))]

    def test_leaves_out_what_cancels(self):
        amounts = [Money(Decimal(2), "USD"), Money(Decimal(1), "EUR"), Money(Decimal(-2), "USD")]
        assert sum_by_currency(amounts) == {"EUR": Decimal(1)}
        assert sum_by_currency([]) == {}
