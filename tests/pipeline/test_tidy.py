"""How much of a formatted module is taken."""

import pytest

from mge_ray.pipeline.tidy import same_code, take_formatted

BEFORE = """\
X = {'a':1}

def f( a ):
    return [ a,
      1 ]

# kept  as it is
class C:
    def g(self): return  'x'

    y  = 2"""
AFTER = """\
X = {"a": 1}


def f(a):
    return [a, 1]


# kept  as it is
class C:
    def g(self):
        return "x"

    y = 2
"""
PROPERTY = """\
class C:
    @property
    def p( self ): return 1
    x  = 1
    @p.setter
    def p( self,v ): pass
"""
FORMATTED_PROPERTY = """\
class C:
    @property
    def p(self):
        return 1

    x = 1

    @p.setter
    def p(self, v):
        pass
"""


def test_only_the_lines_of_the_symbols_are_taken_from_the_formatted_module():
    assert take_formatted(BEFORE, AFTER, ["f"], whole=False) == BEFORE.replace(
        "def f( a ):\n    return [ a,\n      1 ]", "def f(a):\n    return [a, 1]"
    )
    assert take_formatted(BEFORE, AFTER, ["C.g"], whole=False) == BEFORE.replace(
        "    def g(self): return  'x'", '    def g(self):\n        return "x"'
    )


def test_a_class_that_is_taken_holds_its_methods_and_keeps_the_end_of_the_file():
    taken = take_formatted(BEFORE, AFTER, ["C", "C.g"], whole=False)
    assert taken == BEFORE[: BEFORE.index("class C")] + AFTER[AFTER.index("class C") :].rstrip("\n")


def test_every_definition_of_a_name_is_taken():
    expected = PROPERTY.replace("def p( self ): return 1", "def p(self):\n        return 1")
    expected = expected.replace("def p( self,v ): pass", "def p(self, v):\n        pass")
    assert take_formatted(PROPERTY, FORMATTED_PROPERTY, ["C.p"], whole=False) == expected


def test_a_whole_module_is_taken_where_it_may_be():
    assert take_formatted(BEFORE, AFTER, ["f"], whole=True) == AFTER


def test_a_line_shared_with_other_code_is_left_alone():
    before, after = "x = 1; y = 2\ndef f( ): pass\n", "x = 1\ny = 2\n\n\ndef f():\n    pass\n"
    assert take_formatted(before, after, ["y", "f"], whole=False) == "x = 1; y = 2\ndef f():\n    pass\n"


@pytest.mark.parametrize("whole", [True, False])
def test_a_module_whose_meaning_would_change_is_refused(whole):
    assert take_formatted("def f( ): return 1\n", "def f():\n    return 2\n", ["f"], whole=whole) is None


def test_what_is_no_python_is_refused():
    assert take_formatted("def f(:\n", "def f():\n", ["f"], whole=False) is None
    assert take_formatted("def f(:\n", "def f():\n", ["f"], whole=True) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 'a' 'b'", 'x = "ab"', True),
        ("x = u'a'", 'x = "a"', True),
        ("def f():\n  '''One.  \n\n     Two.\n  '''", 'def f():\n    """One.\n\n       Two.\n    """', True),
        ("def f():\n    '''One.'''", "def f():\n    '''Two.'''", False),
        ("def f():\n    '''One.\n      Two.'''", "def f():\n    '''One.\n\n      Two.'''", False),
        ("x = '''a  \nb'''", "x = '''a\nb'''", False),
        ("x = 1", "x = 1.0", False),
    ],
)
def test_layout_is_no_difference_and_everything_else_is(one, other, same):
    assert same_code(one, other) is same
