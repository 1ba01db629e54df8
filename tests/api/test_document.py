"""The OpenAPI document says what the service does: drawn requests get no 5xx and answers of the form it promises."""

from __future__ import annotations

import pytest

from tests.api.fuzz import fuzz


@pytest.mark.parametrize("known", [True, False])
def test_drawn_requests_are_answered_as_the_document_says(service, tmp_path, known):
    told = fuzz(service, tmp_path, examples=8, seed=7, phases="examples,fuzzing", known=known)
    assert told.passed, told.text
    assert told.cases > 100
