"""Tests of ledgerlib.statements: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import AccountError, AmountError, DateError, EntryError, StatementError
from ledgerlib.journal import Line
from ledgerlib.money import Money
from ledgerlib.statements import (
    Rule,
    StatementLine,
    categorise,
    entry_from_statement,
    export_lines,
    parse_rule,
    parse_statement,
    quote_field,
    rule_matches,
    split_fields,
    split_records,
)

DAY = date(2024, 3, 1)


def bank_line(text="Corner SHOP 24", value="-12.50"):
    return StatementLine(DAY, text, Decimal(value))


class TestSplitRecords:
    @pytest.mark.parametrize(
        ("text", "records"),
        [
            ("", []),
            ("a,b", ["a,b"]),
            ("a\nb\n", ["a", "b"]),
            ("a\r\nb\r\n", ["a", "b"]),
            ("a\n\n \t\n\r\nb", ["a", "b"]),
            ('"a\nb",c\nd', ['"a\nb",c', "d"]),
            ('"a\r\n\n""b""",c\r\nd', ['"a\r\n\n""b""",c', "d"]),
            ('x,"",y\nz', ['x,"",y', "z"]),
            (" a \nb\r", [" a ", "b"]),
        ],
    )
    def test_ends_records_outside_of_quotes(self, text, records):
        assert split_records(text) == records

    @pytest.mark.parametrize("text", ['"', 'a\nb,"c\nd', 'a,"b""\n'])
    def test_refuses_an_open_quote(self, text):
        with pytest.raises(StatementError, match="^quote is never closed$"):
            split_records(text)


class TestSplitFields:
    @pytest.mark.parametrize(
        ("record", "fields"),
        [
            ("", [""]),
            ("a, b ,c", ["a", "b", "c"]),
            ("a,", ["a", ""]),
            (",", ["", ""]),
            ('"a,b",c', ["a,b", "c"]),
            ('c," a\nb "', ["c", " a\nb "]),
            ('"say ""hi"" now",x', ['say "hi" now', "x"]),
            ('""', [""]),
            ('"",""', ["", ""]),
            ('"""",b', ['"', "b"]),
            ('"a""b""c"', ['a"b"c']),
            ('5" pipe,b', ['5" pipe', "b"]),
            ('"a",', ["a", ""]),
        ],
    )
    def test_takes_off_quotes(self, record, fields):
        assert split_fields(record) == fields

    def test_knows_other_delimiters(self):
        assert split_fields('1,5;"a;b";c', ";") == ["1,5", "a;b", "c"]

    @pytest.mark.parametrize(("record", "number"), [('"a"b,c', 1), ('x,y,"a" ,c', 3)])
    def test_refuses_text_after_a_closing_quote(self, record, number):
        with pytest.raises(StatementError, match=f"^text after closing quote in field {number}$"):
            split_fields(record)


class TestQuoteField:
    @pytest.mark.parametrize("text", ["", "plain", "two words", "a;b", "it's"])
    def test_leaves_plain_text_alone(self, text):
        assert quote_field(text) == text

    @pytest.mark.parametrize(
        ("text", "quoted"),
        [
            ("a,b", '"a,b"'),
            ('5"', '"5"""'),
            ("a\nb", '"a\nb"'),
            ("a\rb", '"a\rb"'),
            (" a", '" a"'),
            ("a ", '"a "'),
        ],
    )
    def test_quotes_what_needs_it(self, text, quoted):
        assert quote_field(text) == quoted

    def test_knows_other_delimiters(self):
        assert quote_field("a;b", ";") == '"a;b"'
        assert quote_field("a,b", ";") == "a,b"


class TestParseStatement:
    def test_reads_columns_in_any_order_and_among_others(self):
        text = 'Id, AMOUNT ," Date",Text\n1,"1,200.00",2024-03-01,  Monthly   pay \n\n2,(12.50),2024-03-02,"Shop,\n  corner"\n'
        assert parse_statement(text) == [
            StatementLine(date(2024, 3, 1), "Monthly pay", Decimal("1200.00")),
            StatementLine(date(2024, 3, 2), "Shop, corner", Decimal("-12.50")),
        ]

    def test_knows_other_delimiters(self):
        assert parse_statement("date;text;amount\n2024-03-01;a,b;5", ";") == [bank_line("a,b", "5")]
        assert parse_statement("date,text,amount") == []

    @pytest.mark.parametrize("text", ["", "\n\n"])
    def test_refuses_an_empty_statement(self, text):
        with pytest.raises(StatementError, match="^statement is empty$"):
            parse_statement(text)

    @pytest.mark.parametrize(
        ("header", "missing"), [("text", "date"), ("amount,date", "text"), ("date,text,value", "amount")]
    )
    def test_refuses_a_missing_column(self, header, missing):
        with pytest.raises(StatementError, match=f"^column '{missing}' is missing$"):
            parse_statement(header)

    @pytest.mark.parametrize(("record", "count"), [("2024-03-02,x", 2), ("2024-03-02,x,5,y", 4)])
    def test_refuses_a_record_of_another_length(self, record, count):
        with pytest.raises(StatementError, match=f"^record 3 has {count} fields, not 3$"):
            parse_statement(f"date,text,amount\n2024-03-01,x,5\n{record}\n")

    @pytest.mark.parametrize(
        ("record", "error"),
        [("1.3.2024,x,5", DateError), ("2024-03-01,x,five", AmountError), ('2024-03-01,"x"y,5', StatementError)],
    )
    def test_refuses_what_cannot_be_read(self, record, error):
        with pytest.raises(error):
            parse_statement(f"date,text,amount\n{record}\n")


class TestExportLines:
    def test_writes_a_record_for_each_line(self):
        lines = [
            Line(7, DAY, "Shop, corner", "Expenses:Food", Money(Decimal("12.50"), "EUR"), ("x",)),
            Line(7, DAY, "Shop", "Assets:Cash", Money(Decimal(-500), "JPY")),
        ]
        assert export_lines(iter(lines)) == (
            "number,date,payee,account,amount,currency\n"
            '7,2024-03-01,"Shop, corner",Expenses:Food,12.50,EUR\n'
            "7,2024-03-01,Shop,Assets:Cash,-500,JPY\n"
        )

    def test_writes_the_header_alone(self):
        assert export_lines([]) == "number,date,payee,account,amount,currency\n"


class TestParseRule:
    @pytest.mark.parametrize(
        ("text", "rule"),
        [
            ("shop -> Expenses:Food", Rule(("shop",), "Expenses:Food")),
            ("Corner  SHOP->Expenses:Food ", Rule(("corner", "shop"), "Expenses:Food")),
            ("shop 10..50.5 -> Expenses:Food", Rule(("shop",), "Expenses:Food", Decimal(10), Decimal("50.5"))),
            ("shop 10.. -> Expenses:Food", Rule(("shop",), "Expenses:Food", Decimal(10), None)),
            ("shop ..50 -> Expenses:Food", Rule(("shop",), "Expenses:Food", None, Decimal(50))),
            ("shop .. -> Expenses:Food", Rule(("shop",), "Expenses:Food")),
            ("shop 5..5 -> Expenses:Food", Rule(("shop",), "Expenses:Food", Decimal(5), Decimal(5))),
            ("a..b shop -> Expenses:Food", Rule(("a..b", "shop"), "Expenses:Food")),
        ],
    )
    def test_reads_words_bounds_and_account(self, text, rule):
        assert parse_rule(text) == rule

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("corner shop", "rule has no '->': 'corner shop'"),
            ("shop 5.01..5 -> Expenses:Food", "bounds are reversed: 'shop 5.01..5 -> Expenses:Food'"),
            ("-> Expenses:Food", "rule has no words: '-> Expenses:Food'"),
            ("1..2 -> Expenses:Food", "rule has no words: '1..2 -> Expenses:Food'"),
        ],
    )
    def test_refuses_what_is_no_rule(self, text, message):
        with pytest.raises(StatementError) as caught:
            parse_rule(text)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("shop -> Food", AccountError),
            ("shop -> Expenses:Food -> Expenses:Fun", AccountError),
            ("shop a..5 -> Expenses:Food", AmountError),
            ("shop 5..b -> Expenses:Food", AmountError),
        ],
    )
    def test_refuses_bad_accounts_and_bounds(self, text, error):
        with pytest.raises(error):
            parse_rule(text)


class TestRuleMatches:
    @pytest.mark.parametrize(
        ("words", "expected"), [(("shop",), True), (("hop", "corn"), True), (("shop", "bakery"), False), ((), True)]
    )
    def test_wants_every_word(self, words, expected):
        assert rule_matches(Rule(words, "Expenses:Food"), bank_line()) is expected

    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            ("12.50", None, True),
            ("12.51", None, False),
            (None, "12.50", True),
            (None, "12.49", False),
            ("12", "13", True),
            ("1", "2", False),
            ("13", "20", False),
            ("0", "0", False),
        ],
    )
    @pytest.mark.parametrize("sign", [1, -1])
    def test_bounds_are_included_and_look_at_the_size(self, low, high, expected, sign):
        rule = Rule(("shop",), "Expenses:Food", low and Decimal(low), high and Decimal(high))
        assert rule_matches(rule, StatementLine(DAY, "shop", sign * Decimal("12.50"))) is expected


class TestCategorise:
    @pytest.mark.parametrize(
        ("rules", "account"),
        [
            ([], None),
            ([Rule(("bakery",), "Expenses:A")], None),
            ([Rule(("shop",), "Expenses:A"), Rule(("corner",), "Expenses:B")], "Expenses:A"),
            (
                [Rule(("shop",), "Expenses:A", Decimal(1), Decimal(20)), Rule(("corner", "shop"), "Expenses:B")],
                "Expenses:B",
            ),
            ([Rule(("shop",), "Expenses:A"), Rule(("shop",), "Expenses:B", high=Decimal(20))], "Expenses:B"),
            (
                [Rule(("shop",), "Expenses:A", Decimal(1)), Rule(("shop",), "Expenses:B", high=Decimal(20))],
                "Expenses:A",
            ),
            (
                [Rule(("shop",), "Expenses:A", Decimal(1)), Rule(("shop",), "Expenses:B", Decimal(1), Decimal(20))],
                "Expenses:B",
            ),
            ([Rule(("shop",), "Expenses:A"), Rule(("shop", "x"), "Expenses:B")], "Expenses:A"),
        ],
    )
    def test_prefers_the_most_specific_rule(self, rules, account):
        assert categorise(bank_line(), rules) == account


class TestEntryFromStatement:
    RULES = (Rule(("shop",), "Expenses:Food"), Rule(("pay",), "Income:Pay"))

    def entry(self, text, value, other):
        amount = Decimal(value)
        postings = (Posting("Assets:Bank", Money(amount, "EUR")), Posting(other, Money(-amount, "EUR")))
        return Entry(DAY, text, postings)

    @pytest.mark.parametrize(
        ("text", "value", "other"),
        [
            ("Corner Shop", "-12.50", "Expenses:Food"),
            ("Monthly pay", "1200.00", "Income:Pay"),
            ("Stranger", "-1.00", "Expenses:Unsorted"),
            ("Stranger", "1.00", "Income:Unsorted"),
        ],
    )
    def test_books_against_the_account_of_the_rules(self, text, value, other):
        entry = entry_from_statement(bank_line(text, value), self.RULES, "Assets:Bank", "EUR")
        assert entry == self.entry(text, value, other)

    def test_rounds_to_the_currency(self):
        entry = entry_from_statement(bank_line("Corner Shop", "-0.125"), self.RULES, "Assets:Bank", "EUR")
        assert entry == self.entry("Corner Shop", "-0.13", "Expenses:Food")

    @pytest.mark.parametrize(("text", "value"), [("Shop", "0"), ("", "5")])
    def test_refuses_what_makes_no_entry(self, text, value):
        with pytest.raises(EntryError):
            entry_from_statement(bank_line(text, value), self.RULES, "Assets:Bank", "EUR")
