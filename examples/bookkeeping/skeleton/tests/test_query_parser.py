"""Tests of ledgerlib.query_parser: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.errors import QuerySyntaxError
from ledgerlib.query_ast import Aggregate, And, Comparison, Not, Or, Order, Query
from ledgerlib.query_parser import (
    parse_aggregate,
    parse_comparison,
    parse_condition,
    parse_field,
    parse_orders,
    parse_query,
    parse_value,
)
from ledgerlib.query_tokens import Kind, Token, TokenStream


def stream(text):
    """Make a stream of tokens that are separated by single spaces, without the tokenizer."""
    tokens, position = [], 0
    for word in text.split(" ") if text else []:
        if word.startswith("'"):
            kind = Kind.STRING
        elif word[0].isdigit() or word[0] == "-":
            kind = Kind.DATE if word.count("-") == 2 else Kind.NUMBER
        else:
            kind = Kind.WORD if word[0].isalpha() else Kind.SYMBOL
        tokens.append(Token(kind, word.strip("'"), position))
        position += len(word) + 1
    return TokenStream([*tokens, Token(Kind.END, "", len(text))])


def refusal(parse, text):
    with pytest.raises(QuerySyntaxError) as caught:
        parse(stream(text))
    assert str(caught.value).endswith(f" at {caught.value.position}")
    return str(caught.value)


def amount(value, op="="):
    return Comparison("amount", op, Decimal(value))


class TestParseValue:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("12.50 x", Decimal("12.50")),
            ("-3", Decimal(-3)),
            ("2024-02-29", date(2024, 2, 29)),
            ("'2024'", "2024"),
            ("''", ""),
        ],
    )
    def test_reads_numbers_dates_and_strings(self, text, value):
        tokens = stream(text)
        found = parse_value(tokens)
        assert (found, type(found)) == (value, type(value))
        assert tokens.peek().position == len(text.split(" ")[0]) + (" " in text)

    @pytest.mark.parametrize("text", ["", "amount", "("])
    def test_refuses_other_tokens(self, text):
        assert refusal(parse_value, text) == "expected a value at 0"

    def test_refuses_a_day_that_does_not_exist(self):
        assert refusal(parse_value, "2024-02-30") == "no such day '2024-02-30' at 0"


class TestParseField:
    @pytest.mark.parametrize("field", ["account", "amount", "date", "tag", "quarter"])
    def test_reads_a_field(self, field):
        tokens = stream(f"{field} =")
        assert parse_field(tokens) == field
        assert tokens.peek().text == "="

    @pytest.mark.parametrize("text", ["colour", "'amount'", "5", "="])
    def test_refuses_everything_else(self, text):
        assert refusal(parse_field, text) == "unknown field {!r} at 0".format(text.strip("'"))

    def test_refuses_the_end(self):
        assert refusal(parse_field, "") == "unknown field '' at 0"


class TestParseComparison:
    @pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">="])
    def test_reads_every_operator(self, op):
        tokens = stream(f"amount {op} 5 and")
        assert parse_comparison(tokens) == amount(5, op)
        assert tokens.peek().text == "and"

    def test_reads_values_that_suit_the_field(self):
        assert parse_comparison(stream("account ~ 'Assets:*'")) == Comparison("account", "~", "Assets:*")
        assert parse_comparison(stream("year = '2024'")) == Comparison("year", "=", "2024")
        assert parse_comparison(stream("number > 7")) == Comparison("number", ">", Decimal(7))
        assert parse_comparison(stream("date < 2024-03-01")) == Comparison("date", "<", date(2024, 3, 1))

    def test_reads_lists_of_values(self):
        tokens = stream("amount in ( 1 , 2 , 3 ) or")
        assert parse_comparison(tokens) == Or(Or(amount(1), amount(2)), amount(3))
        assert tokens.peek().text == "or"
        assert parse_comparison(stream("amount in ( 1 )")) == amount(1)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("colour = 5", "unknown field 'colour' at 0"),
            ("amount ~ 'x'", "cannot match field 'amount' with ~ at 0"),
            ("date ~ 5", "cannot match field 'date' with ~ at 0"),
            ("amount = '5'", "value does not suit field 'amount' at 9"),
            ("date = 2024", "value does not suit field 'date' at 7"),
            ("payee ~ 5", "value does not suit field 'payee' at 8"),
            ("amount in ( 1 , 'x' )", "value does not suit field 'amount' at 16"),
            ("amount in ( )", "expected a value at 12"),
            ("amount in 1", "expected '(', not '1' at 10"),
            ("amount in ( 1 2", "expected ',' or ')', not '2' at 14"),
            ("amount =", "expected a value at 8"),
            ("amount 5", "expected '=' or '!=' or '<' or '<=' or '>' or '>=' or '~' or 'in', not '5' at 7"),
        ],
    )
    def test_refuses_what_is_no_comparison(self, text, message):
        assert refusal(parse_comparison, text) == message


class TestParseCondition:
    A, B, C, D = (amount(number) for number in range(1, 5))

    @pytest.mark.parametrize(
        ("text", "condition"),
        [
            ("a", A),
            ("a and b", And(A, B)),
            ("a or b", Or(A, B)),
            ("a and b and c", And(And(A, B), C)),
            ("a or b or c", Or(Or(A, B), C)),
            ("a or b and c or d", Or(Or(A, And(B, C)), D)),
            ("a and b or c and d", Or(And(A, B), And(C, D))),
            ("( a or b ) and c", And(Or(A, B), C)),
            ("a and ( b or c )", And(A, Or(B, C))),
            ("not a and b", And(Not(A), B)),
            ("not ( a and b ) or c", Or(Not(And(A, B)), C)),
            ("not not a", Not(Not(A))),
            ("not not not a", Not(Not(Not(A)))),
            ("( ( a ) )", A),
            ("a and not b", And(A, Not(B))),
        ],
    )
    def test_binds_not_before_and_before_or(self, text, condition):
        words = {letter: f"amount = {number}" for number, letter in enumerate("abcd", start=1)}
        assert parse_condition(stream(" ".join(words.get(word, word) for word in text.split()))) == condition

    def test_stops_where_the_condition_ends(self):
        tokens = stream("amount = 1 and amount = 2 group by month")
        assert parse_condition(tokens) == And(self.A, self.B)
        assert tokens.peek().text == "group"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "unknown field '' at 0"),
            ("amount = 1 and", "unknown field '' at 14"),
            ("amount = 1 or group", "unknown field 'group' at 14"),
            ("( amount = 1", "expected ')', not end at 12"),
            ("not", "unknown field '' at 3"),
        ],
    )
    def test_refuses_what_is_no_condition(self, text, message):
        assert refusal(parse_condition, text) == message


class TestParseAggregate:
    @pytest.mark.parametrize(
        ("text", "aggregate"),
        [
            ("sum ( amount )", Aggregate("sum", "amount")),
            ("avg ( number )", Aggregate("avg", "number")),
            ("count ( * )", Aggregate("count", "*")),
            ("min ( date )", Aggregate("min", "date")),
            ("max ( date )", Aggregate("max", "date")),
            ("min ( amount )", Aggregate("min", "amount")),
            ("max ( number )", Aggregate("max", "number")),
        ],
    )
    def test_reads_a_function_of_a_field(self, text, aggregate):
        tokens = stream(f"{text} where")
        assert parse_aggregate(tokens) == aggregate
        assert tokens.peek().text == "where"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("median ( amount )", "expected 'sum' or 'count' or 'min' or 'max' or 'avg', not 'median' at 0"),
            ("sum amount", "expected '(', not 'amount' at 4"),
            ("sum ( amount", "expected ')', not end at 12"),
            ("count ( amount )", "expected '*', not 'amount' at 8"),
            ("sum ( * )", "unknown field '*' at 6"),
            ("sum ( payee )", "cannot take sum of 'payee' at 6"),
            ("avg ( date )", "cannot take avg of 'date' at 6"),
            ("max ( month )", "cannot take max of 'month' at 6"),
        ],
    )
    def test_refuses_what_is_no_aggregate(self, text, message):
        assert refusal(parse_aggregate, text) == message


class TestParseOrders:
    @pytest.mark.parametrize(
        ("text", "orders"),
        [
            ("month", (Order("month"),)),
            ("month asc", (Order("month"),)),
            ("month desc", (Order("month", descending=True),)),
            ("sum ( amount ) desc , payee", (Order("sum(amount)", descending=True), Order("payee"))),
            (
                "payee , count ( * ) asc , month desc",
                (Order("payee"), Order("count(*)"), Order("month", descending=True)),
            ),
        ],
    )
    def test_reads_fields_and_aggregates(self, text, orders):
        tokens = stream(f"{text} limit 5")
        assert parse_orders(tokens) == orders
        assert tokens.peek().text == "limit"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "unknown field '' at 0"),
            ("month ,", "unknown field '' at 7"),
            ("'sum' ( amount )", "unknown field 'sum' at 0"),
            ("month , payee , month desc", "sorted twice by 'month' at 16"),
            ("count ( * ) , count ( * )", "sorted twice by 'count(*)' at 14"),
        ],
    )
    def test_refuses_what_is_no_order(self, text, message):
        assert refusal(parse_orders, text) == message


class TestParseQuery:
    def test_reads_every_part(self):
        text = (
            "Sum(amount), count(*) WHERE account ~ 'Expenses:*' and date >= 2024-01-01 "
            "group by month, payee order by sum(amount) desc, month limit 12"
        )
        assert parse_query(text) == Query(
            (Aggregate("sum", "amount"), Aggregate("count", "*")),
            And(Comparison("account", "~", "Expenses:*"), Comparison("date", ">=", date(2024, 1, 1))),
            ("month", "payee"),
            (Order("sum(amount)", descending=True), Order("month")),
            12,
        )

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("count(*)", Query((Aggregate("count", "*"),))),
            ("count(*) group by tag", Query((Aggregate("count", "*"),), group_by=("tag",))),
            ("count(*) order by count(*)", Query((Aggregate("count", "*"),), order_by=(Order("count(*)"),))),
            ("count(*) limit 1", Query((Aggregate("count", "*"),), limit=1)),
        ],
    )
    def test_every_part_but_the_columns_is_optional(self, text, query):
        assert parse_query(text) == query

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "expected 'sum' or 'count' or 'min' or 'max' or 'avg', not end at 0"),
            ("count(*),", "expected 'sum' or 'count' or 'min' or 'max' or 'avg', not end at 9"),
            ("count(*) group month", "expected 'by', not 'month' at 15"),
            ("count(*) order month", "expected 'by', not 'month' at 15"),
            ("count(*) group by month,", "unknown field '' at 24"),
            ("count(*) limit 0", "limit must be a whole number at 15"),
            ("count(*) limit -1", "limit must be a whole number at 15"),
            ("count(*) limit 1.5", "limit must be a whole number at 15"),
            ("count(*) limit '5'", "limit must be a whole number at 15"),
            ("count(*) limit", "limit must be a whole number at 14"),
            ("count(*) limit 5 6", "unexpected '6' at 17"),
            ("count(*) order by month group by month", "unexpected 'group' at 24"),
            ("count(*) 'x'", "unexpected 'x' at 9"),
            ("count(*) where", "unknown field '' at 14"),
            ("count(*) & 5", "unexpected '&' at 9"),
        ],
    )
    def test_refuses_what_is_no_query(self, text, message):
        with pytest.raises(QuerySyntaxError) as caught:
            parse_query(text)
        assert str(caught.value) == message
        assert message.endswith(f" at {caught.value.position}")
