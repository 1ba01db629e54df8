"""Tests of ledgerlib.periods: one class for each function."""

from datetime import date

import pytest

from ledgerlib.errors import DateError
from ledgerlib.periods import (
    Period,
    bucket_label,
    days_in_month,
    month_period,
    parse_date,
    parse_period,
    split_months,
)


def period(start, end):
    return Period(date.fromisoformat(start), date.fromisoformat(end))


class TestPeriodContains:
    @pytest.mark.parametrize(
        ("day", "expected"),
        [
            ("2024-02-29", False),
            ("2024-03-01", True),
            ("2024-03-15", True),
            ("2024-03-31", True),
            ("2024-04-01", False),
        ],
    )
    def test_includes_both_ends(self, day, expected):
        assert period("2024-03-01", "2024-03-31").contains(date.fromisoformat(day)) is expected

    def test_a_single_day_contains_itself(self):
        assert period("2024-03-01", "2024-03-01").contains(date(2024, 3, 1)) is True


class TestParseDate:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("2024-03-05", date(2024, 3, 5)), (" 2024-02-29\n", date(2024, 2, 29)), ("1999-12-31", date(1999, 12, 31))],
    )
    def test_reads_iso_dates(self, text, expected):
        assert parse_date(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2024-1-5",
            "20240105",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "05.01.2024",
            "2024-01-05T00:00",
            "0999-01-01",
        ],
    )
    def test_refuses_everything_else(self, text):
        with pytest.raises(DateError) as caught:
            parse_date(text)
        assert str(caught.value) == f"not a date: {text!r}"

    def test_shows_the_text_as_given(self):
        with pytest.raises(DateError, match=r"^not a date: ' 2024-02-30'$"):
            parse_date(" 2024-02-30")


class TestDaysInMonth:
    def test_knows_every_month_of_a_common_year(self):
        assert [days_in_month(2023, month) for month in range(1, 13)] == [
            31,
            28,
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ]

    @pytest.mark.parametrize(
        ("year", "days"),
        [(2024, 29), (2022, 28), (1900, 28), (2000, 29), (2100, 28), (2400, 29), (2040, 29), (2200, 28)],
    )
    def test_knows_leap_years(self, year, days):
        assert days_in_month(year, 2) == days

    @pytest.mark.parametrize("month", [0, 13, -1])
    def test_refuses_other_months(self, month):
        with pytest.raises(DateError, match=f"^no such month: {month}$"):
            days_in_month(2024, month)


class TestMonthPeriod:
    def test_runs_from_the_first_to_the_last_day(self):
        assert month_period(2024, 2) == period("2024-02-01", "2024-02-29")
        assert month_period(2023, 12) == period("2023-12-01", "2023-12-31")

    def test_refuses_other_months(self):
        with pytest.raises(DateError):
            month_period(2024, 13)


class TestParsePeriod:
    @pytest.mark.parametrize(
        ("text", "start", "end"),
        [
            ("2024", "2024-01-01", "2024-12-31"),
            ("2024-Q1", "2024-01-01", "2024-03-31"),
            ("2024-q2", "2024-04-01", "2024-06-30"),
            ("2023-Q4", "2023-10-01", "2023-12-31"),
            (" 2024-02 ", "2024-02-01", "2024-02-29"),
            ("2024-03-05", "2024-03-05", "2024-03-05"),
            ("2024-02..2024-Q2", "2024-02-01", "2024-06-30"),
            ("2023 .. 2024-03-05", "2023-01-01", "2024-03-05"),
            ("2024-03-05..2024-03-05", "2024-03-05", "2024-03-05"),
            ("2024-03-05..2024-03-06", "2024-03-05", "2024-03-06"),
            ("2022..2023..2024-01", "2022-01-01", "2024-01-31"),
        ],
    )
    def test_reads_every_form(self, text, start, end):
        assert parse_period(text) == period(start, end)

    @pytest.mark.parametrize("text", ["", "24", "2024-Q5", "2024-Q0", "2024-13", "2024-02-30", "..2024", "2024.."])
    def test_refuses_what_is_no_period(self, text):
        with pytest.raises(DateError):
            parse_period(text)

    def test_refuses_a_period_that_ends_before_it_starts(self):
        with pytest.raises(DateError, match=r"^period ends before it starts: '2024-q1\.\.2023'$"):
            parse_period("2024-q1..2023")
        with pytest.raises(DateError, match="ends before"):
            parse_period("2024-03-05..2024-03-04")


class TestSplitMonths:
    def test_cuts_at_the_ends_of_months(self):
        assert split_months(period("2024-01-20", "2024-03-05")) == [
            period("2024-01-20", "2024-01-31"),
            period("2024-02-01", "2024-02-29"),
            period("2024-03-01", "2024-03-05"),
        ]

    def test_goes_over_the_end_of_a_year(self):
        assert split_months(period("2023-12-31", "2024-01-01")) == [
            period("2023-12-31", "2023-12-31"),
            period("2024-01-01", "2024-01-01"),
        ]

    @pytest.mark.parametrize(
        ("start", "end"), [("2024-05-01", "2024-05-31"), ("2024-05-03", "2024-05-03"), ("2024-05-03", "2024-05-20")]
    )
    def test_a_period_within_a_month_stays_whole(self, start, end):
        assert split_months(period(start, end)) == [period(start, end)]


class TestBucketLabel:
    @pytest.mark.parametrize(
        ("day", "unit", "expected"),
        [
            ("2024-03-05", "year", "2024"),
            ("2024-03-05", "month", "2024-03"),
            ("2024-11-05", "month", "2024-11"),
            ("2024-03-05", "day", "2024-03-05"),
            ("2024-03-05", "week", "2024-W10"),
            ("2024-12-30", "week", "2025-W01"),
            ("2021-01-03", "week", "2020-W53"),
            ("0987-03-05", "year", "0987"),
            ("0987-03-05", "month", "0987-03"),
            ("0987-03-05", "quarter", "0987-Q1"),
            ("0987-03-05", "week", "0987-W10"),
        ],
    )
    def test_names_the_unit(self, day, unit, expected):
        assert bucket_label(date.fromisoformat(day), unit) == expected

    def test_names_the_quarter_of_every_month(self):
        labels = [bucket_label(date(2024, month, 1), "quarter")[-2:] for month in range(1, 13)]
        assert labels == ["Q1"] * 3 + ["Q2"] * 3 + ["Q3"] * 3 + ["Q4"] * 3

    def test_refuses_another_unit(self):
        with pytest.raises(DateError, match="^unknown unit of time: 'hour'$"):
            bucket_label(date(2024, 1, 1), "hour")
