"""Tests of ledgerlib.query_tokens: one class for each function."""

import pytest

from ledgerlib.errors import QuerySyntaxError
from ledgerlib.query_tokens import Kind, Token, TokenStream, read_string, tokenize


class TestReadString:
    @pytest.mark.parametrize(
        ("text", "start", "content", "end"),
        [
            ('"abc" x', 0, "abc", 5),
            ("a = 'b' and", 4, "b", 7),
            ('""', 0, "", 2),
            ('"it\'s"', 0, "it's", 6),
            ("'a\"b'", 0, 'a"b', 5),
            (r'"a\"b"', 0, 'a"b', 6),
            (r'"a\\" "', 0, "a\\", 5),
            (r'"\n"', 0, "n", 4),
        ],
    )
    def test_reads_up_to_the_closing_mark(self, text, start, content, end):
        assert read_string(text, start) == (content, end)

    @pytest.mark.parametrize(("text", "start"), [('"abc', 0), ("x 'abc\"", 2), ('a"b\\', 1), ('"', 0), ('"a\\"', 0)])
    def test_refuses_a_string_that_is_never_closed(self, text, start):
        with pytest.raises(QuerySyntaxError, match=f"^string is never closed at {start}$") as caught:
            read_string(text, start)
        assert caught.value.position == start


class TestTokenize:
    def kinds(self, text):
        return [(token.kind.value, token.text, token.position) for token in tokenize(text)]

    def test_gives_every_kind_with_its_position(self):
        assert self.kinds('SUM(amount) where date >= 2024-01-31 and payee = "It\'s" limit 5') == [
            ("word", "sum", 0),
            ("symbol", "(", 3),
            ("word", "amount", 4),
            ("symbol", ")", 10),
            ("word", "where", 12),
            ("word", "date", 18),
            ("symbol", ">=", 23),
            ("date", "2024-01-31", 26),
            ("word", "and", 37),
            ("word", "payee", 41),
            ("symbol", "=", 47),
            ("string", "It's", 49),
            ("word", "limit", 56),
            ("number", "5", 62),
            ("end", "", 63),
        ]

    @pytest.mark.parametrize("text", ["", "  ", "\n\t "])
    def test_an_empty_text_has_only_an_end(self, text):
        assert tokenize(text) == [Token(Kind.END, "", len(text))]

    @pytest.mark.parametrize(
        ("text", "texts"),
        [
            ("<=>=!=<>~=,*", ["<=", ">=", "!=", "<", ">", "~", "=", ",", "*", ""]),
            ("-12.50 -3", ["-12.50", "-3", ""]),
            ("2024-01-015", ["2024", "-01", "-015", ""]),
            (" a_1b2", ["a_1b2", ""]),
            ("'X''Y'", ["X", "Y", ""]),
            ("  'A b'  C  ", ["A b", "c", ""]),
        ],
    )
    def test_cuts_at_the_longest_token(self, text, texts):
        assert [token.text for token in tokenize(text)] == texts

    @pytest.mark.parametrize(("text", "mark", "position"), [("a & b", "'&'", 2), ("  ?", "'?'", 2), ("x=-", "'-'", 2)])
    def test_refuses_other_characters(self, text, mark, position):
        with pytest.raises(QuerySyntaxError) as caught:
            tokenize(text)
        assert (str(caught.value), caught.value.position) == (f"unexpected {mark} at {position}", position)

    def test_refuses_an_open_string(self):
        with pytest.raises(QuerySyntaxError, match="^string is never closed at 8$"):
            tokenize("payee = 'x")


class TestTokenStream:
    def stream(self):
        return TokenStream(
            [
                Token(Kind.WORD, "group", 0),
                Token(Kind.SYMBOL, "(", 6),
                Token(Kind.STRING, "by", 8),
                Token(Kind.NUMBER, "5", 13),
                Token(Kind.END, "", 14),
            ]
        )

    def test_moves_with_next_and_not_with_peek(self):
        stream = self.stream()
        assert stream.peek().text == stream.peek().text == "group"
        assert [stream.next().text for _ in range(4)] == ["group", "(", "by", "5"]
        assert stream.peek().kind is Kind.END

    def test_never_moves_beyond_the_end(self):
        stream = TokenStream([Token(Kind.END, "", 0)])
        assert [stream.next().kind for _ in range(3)] == [Kind.END] * 3
        assert stream.peek().kind is Kind.END

    def test_accepts_words_and_symbols(self):
        stream = self.stream()
        assert stream.accept("by", "order") is None
        assert stream.accept("order", "group") == "group"
        assert stream.accept("(") == "("
        assert stream.peek().position == 8

    def test_accepts_neither_strings_nor_numbers(self):
        stream = self.stream()
        stream.next()
        stream.next()
        assert stream.accept("by") is None
        stream.next()
        assert stream.accept("5") is None
        stream.next()
        assert stream.accept("") is None

    def test_expects_words_and_symbols(self):
        stream = self.stream()
        assert stream.expect("group") == "group"
        assert stream.expect(")", "(") == "("
        with pytest.raises(QuerySyntaxError) as caught:
            stream.expect("by", "*")
        assert str(caught.value) == "expected 'by' or '*', not 'by' at 8"
        assert stream.next().position == 8

    def test_names_the_end(self):
        with pytest.raises(QuerySyntaxError, match=r"^expected '\)', not end at 3$") as caught:
            TokenStream([Token(Kind.END, "", 3)]).expect(")")
        assert caught.value.position == 3
