from benchmarks.owners import line_owners

MODULE = """\
@decorated
def alone():
    def inner(): pass

class Large:
    limit = 1
    @property
    def size(self): return 1
    @size.setter
    def size(self, value): pass

if True:
    def within(): pass
"""


def test_a_line_belongs_to_the_innermost_definition_that_is_owned():
    owned = {"alone": "f", "Large": "c", "Large.size": "m", "within": "w"}
    expected = {1: "f", 2: "f", 3: "f", 5: "c", 6: "c", 7: "m", 8: "m", 9: "m", 10: "m", 13: "w"}
    assert line_owners(MODULE, owned) == expected


def test_lines_outside_owned_definitions_belong_to_nobody():
    assert line_owners(MODULE, {"Large.size": "m"}) == {7: "m", 8: "m", 9: "m", 10: "m"}
