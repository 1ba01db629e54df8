"""Tests of ledgerlib.query_eval: one class for each function."""

from datetime import date
from decimal import Decimal

import pytest

from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import QueryError, QuerySyntaxError
from ledgerlib.journal import Journal, Line
from ledgerlib.money import Money
from ledgerlib.query_ast import Aggregate, And, Comparison, Not, Or, Order
from ledgerlib.query_eval import (
    QueryResult,
    aggregate,
    compare,
    field_values,
    group_lines,
    matches,
    run_query,
    sort_rows,
)


def line(
    value="12.50", *, account="Expenses:Food", currency="EUR", number=7, day="2024-03-05", payee="Corner Shop", tags=()
):
    return Line(number, date.fromisoformat(day), payee, account, Money(Decimal(value), currency), tags)


class TestFieldValues:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("date", date(2024, 3, 5)),
            ("amount", Decimal("12.50")),
            ("number", Decimal(7)),
            ("account", "Expenses:Food"),
            ("payee", "Corner Shop"),
            ("currency", "EUR"),
            ("type", "expense"),
            ("year", "2024"),
            ("quarter", "2024-Q1"),
            ("month", "2024-03"),
            ("week", "2024-W10"),
        ],
    )
    def test_gives_one_value(self, field, value):
        found = field_values(line(), field)
        assert found == (value,)
        assert type(found[0]) is type(value)

    @pytest.mark.parametrize("tags", [(), ("a",), ("b", "a")])
    def test_gives_every_tag(self, tags):
        assert field_values(line(tags=tags), "tag") == tags

    @pytest.mark.parametrize("field", ["colour", "day"])
    def test_refuses_an_unknown_field(self, field):
        with pytest.raises(QueryError, match=f"^unknown field '{field}'$"):
            field_values(line(), field)


class TestCompare:
    @pytest.mark.parametrize(
        ("op", "outcomes"),
        [
            ("=", (False, True, False)),
            ("!=", (True, False, True)),
            ("<", (True, False, False)),
            ("<=", (True, True, False)),
            (">", (False, False, True)),
            (">=", (False, True, True)),
        ],
    )
    @pytest.mark.parametrize(
        ("values", "right"),
        [
            ((Decimal(1), Decimal(2), Decimal(3)), Decimal("2.0")),
            ((date(2024, 1, 1), date(2024, 1, 2), date(2024, 2, 1)), date(2024, 1, 2)),
            (("A", "b", "C"), "B"),
        ],
    )
    def test_compares_values_of_one_type(self, op, outcomes, values, right):
        assert tuple(compare(left, op, right) for left in values) == outcomes

    @pytest.mark.parametrize(
        ("left", "right", "expected"),
        [
            ("Corner Shop", "*shop", True),
            ("Corner Shop", "CORNER*", True),
            ("Corner Shop", "shop", False),
            ("Corner Shop", "corner sh?p", True),
            ("Shop", "*shops", False),
        ],
    )
    def test_matches_texts_with_wildcards(self, left, right, expected):
        assert compare(left, "~", right) is expected

    def test_an_equal_sign_knows_no_wildcards(self):
        assert compare("Shop", "=", "S*") is False

    @pytest.mark.parametrize("values", [(Decimal(1), Decimal(1)), ("a", "a")])
    def test_refuses_an_unknown_operator(self, values):
        with pytest.raises(QueryError, match="^unknown operator '=='$"):
            compare(values[0], "==", values[1])


class TestMatches:
    YES, NO = Comparison("amount", ">", Decimal(12)), Comparison("payee", "=", "Bakery")

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (YES, True),
            (NO, False),
            (Not(YES), False),
            (Not(NO), True),
            (And(YES, YES), True),
            (And(YES, NO), False),
            (And(NO, YES), False),
            (Or(YES, NO), True),
            (Or(NO, YES), True),
            (Or(NO, NO), False),
            (Not(And(YES, Not(Or(NO, YES)))), True),
        ],
    )
    def test_combines_conditions(self, condition, expected):
        assert matches(condition, line()) is expected

    @pytest.mark.parametrize(
        ("op", "value", "expected"),
        [
            ("~", "expenses:*", True),
            ("~", "Expenses", False),
            ("~", "Exp*", False),
            ("~", "*:Food", True),
            ("~", "Expenses:Fo*:*", False),
            ("=", "expenses:food", True),
            ("=", "Expenses:*", False),
            ("!=", "Expenses:Food", False),
        ],
    )
    def test_matches_accounts_by_segments(self, op, value, expected):
        assert matches(Comparison("account", op, value), line()) is expected

    def test_matches_other_texts_as_a_whole(self):
        assert matches(Comparison("payee", "~", "corner*"), line()) is True
        assert matches(Comparison("payee", "~", "*:*"), line(payee="a:b:c")) is True

    @pytest.mark.parametrize(
        ("tags", "op", "value", "expected"),
        [
            (("a", "b"), "=", "b", True),
            (("a", "b"), "=", "c", False),
            (("a", "b"), "!=", "b", False),
            (("a", "b"), "!=", "c", True),
            (("a", "b"), "~", "[bc]", True),
            ((), "=", "b", False),
            ((), "!=", "b", True),
            ((), "~", "*", False),
        ],
    )
    def test_any_tag_will_do_but_none_may_be_excluded(self, tags, op, value, expected):
        assert matches(Comparison("tag", op, value), line(tags=tags)) is expected


class TestAggregate:
    LINES = (line("1.00", day="2024-03-02", number=1), line("5.00", day="2024-03-01", number=2), line("2.01", number=4))

    @pytest.mark.parametrize(
        ("function", "field", "expected"),
        [
            ("count", "*", 3),
            ("sum", "amount", Decimal("8.01")),
            ("sum", "number", Decimal(7)),
            ("min", "amount", Decimal("1.00")),
            ("max", "amount", Decimal("5.00")),
            ("min", "date", date(2024, 3, 1)),
            ("max", "date", date(2024, 3, 5)),
            ("avg", "amount", Decimal("2.67")),
            ("avg", "number", Decimal(7) / 3),
        ],
    )
    def test_computes_every_function(self, function, field, expected):
        found = aggregate(Aggregate(function, field), self.LINES)
        assert (found, type(found)) == (expected, type(expected))

    def test_rounds_a_mean_to_the_currency(self):
        assert str(aggregate(Aggregate("avg", "amount"), [line("1.00"), line("1.01")])) == "1.01"
        assert str(aggregate(Aggregate("avg", "amount"), [line("1", currency="JPY"), line("2", currency="JPY")])) == "2"

    @pytest.mark.parametrize(
        ("function", "field", "expected"),
        [
            ("count", "*", 0),
            ("sum", "amount", Decimal(0)),
            ("min", "amount", None),
            ("max", "date", None),
            ("avg", "number", None),
        ],
    )
    def test_knows_no_lines(self, function, field, expected):
        assert aggregate(Aggregate(function, field), []) == expected

    @pytest.mark.parametrize("function", ["sum", "min", "max", "avg"])
    def test_refuses_to_mix_currencies(self, function):
        lines = [line(currency="USD"), line(currency="EUR"), line(currency="USD")]
        with pytest.raises(QueryError, match="^amounts in EUR, USD: group by currency$"):
            aggregate(Aggregate(function, "amount"), lines)

    def test_mixes_currencies_where_amounts_do_not_matter(self):
        lines = [line(currency="USD", number=1), line(currency="EUR", number=4)]
        assert aggregate(Aggregate("count", "*"), lines) == 2
        assert aggregate(Aggregate("sum", "number"), lines) == 5
        assert aggregate(Aggregate("avg", "number"), lines) == Decimal("2.5")


class TestGroupLines:
    def test_groups_in_ascending_order(self):
        lines = [line(payee="b"), line(payee="a", number=1), line(payee="b", number=2)]
        groups = group_lines(iter(lines), ["payee"])
        assert list(groups.items()) == [(("a",), [lines[1]]), (("b",), [lines[0], lines[2]])]

    def test_groups_by_several_fields(self):
        lines = [line(payee="b"), line(payee="a", day="2024-04-01"), line(payee="a")]
        groups = group_lines(lines, ["month", "payee"])
        assert list(groups) == [("2024-03", "a"), ("2024-03", "b"), ("2024-04", "a")]
        assert list(groups.values()) == [[lines[2]], [lines[0]], [lines[1]]]

    def test_a_line_stands_in_the_group_of_each_tag(self):
        lines = [line(tags=("y", "x")), line(), line(tags=("y",))]
        assert group_lines(lines, ["tag"]) == {("x",): [lines[0]], ("y",): [lines[0], lines[2]]}
        assert list(group_lines(lines, ["payee", "tag"])) == [("Corner Shop", "x"), ("Corner Shop", "y")]

    def test_without_fields_there_is_one_group(self):
        assert group_lines([line(), line()], []) == {(): [line(), line()]}
        assert group_lines([], []) == {(): []}
        assert group_lines([], ["payee"]) == {}


class TestSortRows:
    HEADERS = ("payee", "sum(amount)", "count(*)")
    ROWS = (("b", Decimal(5), 1), ("a", Decimal(3), 2), ("c", Decimal(5), 3), ("d", None, 2))

    @pytest.mark.parametrize(
        ("orders", "expected"),
        [
            ([], "bacd"),
            ([Order("payee")], "abcd"),
            ([Order("payee", descending=True)], "dcba"),
            ([Order("sum(amount)")], "dabc"),
            ([Order("sum(amount)", descending=True)], "bcad"),
            ([Order("count(*)", descending=True)], "cadb"),
            ([Order("sum(amount)"), Order("payee", descending=True)], "dacb"),
            ([Order("count(*)"), Order("payee", descending=True)], "bdac"),
        ],
    )
    def test_sorts_by_the_first_order_first(self, orders, expected):
        assert "".join(str(row[0]) for row in sort_rows(self.HEADERS, iter(self.ROWS), orders)) == expected

    def test_keeps_the_order_of_equal_empty_cells(self):
        rows = [("b", None), ("a", None), ("c", 1)]
        assert sort_rows(["x", "y"], rows, [Order("y", descending=True)]) == [("c", 1), ("b", None), ("a", None)]

    def test_refuses_an_unknown_key(self):
        with pytest.raises(QueryError, match="^cannot sort by 'month'$"):
            sort_rows(self.HEADERS, [], [Order("payee"), Order("month")])


class TestRunQuery:
    def journal(self):
        def entry(number, day, account, value, currency="EUR", tags=()):
            postings = (
                Posting(account, Money(Decimal(value), currency)),
                Posting("Assets:Bank", Money(-Decimal(value), currency)),
            )
            return Entry(date.fromisoformat(day), f"Payee {number}", postings, tags, number)

        return Journal(
            [
                entry(1, "2024-01-05", "Expenses:Food", "10.00", tags=("a",)),
                entry(2, "2024-01-20", "Expenses:Food:Lunch", "2.50"),
                entry(3, "2024-02-01", "Expenses:Rent", "500.00", tags=("a", "b")),
                entry(4, "2024-02-03", "Expenses:Food", "900", "JPY"),
            ]
        )

    def test_answers_the_question_of_the_specification(self):
        text = 'sum(amount) where account ~ "Expenses:*" and currency = "EUR" and date >= 2024-01-01 group by month'
        assert run_query(self.journal(), text) == QueryResult(
            ("month", "sum(amount)"), (("2024-01", Decimal("12.50")), ("2024-02", Decimal("500.00")))
        )

    def test_sorts_and_limits(self):
        text = "count(*), max(amount) where amount > 0 group by account, currency order by max(amount) desc limit 2"
        assert run_query(self.journal(), text) == QueryResult(
            ("account", "currency", "count(*)", "max(amount)"),
            (("Expenses:Food", "JPY", 1, Decimal(900)), ("Expenses:Rent", "EUR", 1, Decimal(500))),
        )

    def test_looks_at_every_line_without_a_condition(self):
        assert run_query(self.journal(), "count(*)") == QueryResult(("count(*)",), ((8,),))
        assert run_query(Journal(), "count(*), sum(amount)").rows == ((0, Decimal(0)),)
        assert run_query(Journal(), "count(*) group by tag").rows == ()

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("count(*) group by colour", QuerySyntaxError, "unknown field 'colour' at 18"),
            ("count(*) order by month", QueryError, "cannot sort by 'month'"),
            ("sum(amount)", QueryError, "amounts in EUR, JPY: group by currency"),
        ],
    )
    def test_refuses_what_it_cannot_answer(self, text, error, message):
        with pytest.raises(error) as caught:
            run_query(self.journal(), text)
        assert str(caught.value) == message
