import json

import pytest

from mge_ray.pipeline.spec.documents import (
    MAX_DOCUMENT_CHARS,
    DetailsDocument,
    DocumentError,
    InterfaceDocument,
    RequirementsDocument,
    read_document,
    schema_of,
)
from tests.specs import DETAILS, INTERFACE, REQUIREMENTS, changed, text

BROKEN = {
    "no JSON": ("{", "invalid JSON at line 1"),
    "a list": ("[]", "the document: Input should be"),
    "a number of too many digits": ("{" + f'"title": {"9" * 5000}' + "}", "invalid JSON"),
    "nested too deeply": ("[" * 100_000, "nested too deeply"),
    "too long": (" " * (MAX_DOCUMENT_CHARS + 1), "is the most"),
    "a key twice": ('{"title": "a", "title": "b"}', "stands twice"),
    "a key missing": (text(changed(REQUIREMENTS, "title", to=...)), "title: is missing"),
    "an item's key missing": (
        text(changed(REQUIREMENTS, "requirements", 1, "quote", to=...)),
        "requirements[1].quote: is missing",
    ),
    "a key invented": (text({**REQUIREMENTS, "comment": "x"}), "comment: this key is not part of the form"),
    "an id of another form": (text(changed(REQUIREMENTS, "requirements", 0, "id", to="1")), "requirements[0].id"),
    "another level": (text(changed(REQUIREMENTS, "requirements", 0, "level", to="MAY")), "requirements[0].level"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_a_document_is_told_with_its_place(case):
    given, told = BROKEN[case]
    with pytest.raises(DocumentError) as caught:
        read_document(given, RequirementsDocument)
    assert told in caught.value.problems[0]
    assert len(caught.value.problems) <= 5


def test_an_atom_of_more_than_fifteen_lines_is_refused():
    with pytest.raises(DocumentError, match=r"atoms\[0\].lines.*15"):
        read_document(text(changed(DETAILS["points"], "atoms", 0, "lines", to=16)), DetailsDocument)


def test_a_test_covers_at_least_one_requirement():
    with pytest.raises(DocumentError, match=r"tests\[0\].covers"):
        read_document(text(changed(DETAILS["points"], "tests", 0, "covers", to=[])), DetailsDocument)


@pytest.mark.parametrize("name", ["../up", "Points", "a/b", "a.b", ""])
def test_modules_cannot_leave_their_package(name):
    with pytest.raises(DocumentError, match=r"modules\[0\].name"):
        read_document(text(changed(INTERFACE, "modules", 0, "name", to=name)), InterfaceDocument)


def test_documents_are_read_back():
    assert read_document(text(INTERFACE), InterfaceDocument).modules[1].depends_on == ("points",)


def test_a_schema_forbids_keys_it_does_not_have():
    assert json.loads(schema_of(RequirementsDocument))["additionalProperties"] is False
