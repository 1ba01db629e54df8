"""The page: one file that needs nothing else, and that no text in it can break out of.

What its script makes of the data is looked at in a browser (`tools/look-at-report`), not here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest

from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.validation import Level
from mge_ray.pipeline.forecast_report import ForecastReport
from mge_ray.pipeline.html_report import render
from mge_ray.pipeline.html_report.page_data import MAX_CODE_CHARS
from mge_ray.pipeline.html_report.render import duration
from mge_ray.pipeline.observed import observe
from mge_ray.pipeline.report import build_report
from tests.builders import EXECUTION_ID, Driven, atom, driven, failed, generation, many

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> & \u2028 \u2029 {{data}} '\""


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.texts[self._inside][-1] += data

    @property
    def data(self):
        return json.loads(self.texts["script"][0])


def page_of(run: Driven, **changes: object) -> Page:
    return Page(text_of(run, **changes))


def text_of(run: Driven, **changes: object) -> str:
    seen = observe(EXECUTION_ID, run.machine.plan, run.events)
    return render(build_report(seen.machine, seen).model_copy(update=changes), seen)


@pytest.fixture
def retried() -> Driven:
    run = driven("a -> b, c", budget_usd=1.0, simulated=True)
    run.call("a")
    run.arrive("a", generation("def f_a():\n    return 1\n"))
    run.check("a")
    run.judge("a", failed("it is 1, not 2"))
    run.call("a")
    run.fail("a")
    run.call("a")
    run.arrive("a", generation("def f_a():\n    return 2\n"))
    run.check("a")
    run.judge("a")
    for _ in range(4):
        run.attempt("c", failed("no"))
    run.attempt("b")
    return run


def test_the_page_asks_for_nothing_outside_itself(retried):
    page = page_of(retried)
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "form"})
    for tag, attributes in page.tags:
        assert not attributes.keys() & {"src", "srcset", "style", "action"}, tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in page.texts["style"][0]
    assert "@import" not in page.texts["style"][0]


def test_the_policy_allows_the_one_style_and_the_one_script_alone(retried):
    page = page_of(retried)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def digest(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "style-src": digest(page.texts["style"][0]),
        "script-src": digest(page.texts["script"][1]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_script_makes_no_markup_of_text_and_asks_no_network(retried):
    script = page_of(retried).texts["script"][1]
    for dangerous in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "import(",
        'setAttribute("on',
    ):
        assert dangerous not in script


def test_hostile_text_stays_text(retried):
    hostile = atom("a", name=HOSTILE[:150], description=HOSTILE)
    run = driven("a", plan_fields={"name": HOSTILE[:150], "atoms": (hostile,)})
    run.call("a")
    run.arrive("a", generation(f"x = '''{HOSTILE}'''\n"))
    run.check("a")
    run.judge("a", failed(HOSTILE))
    run.pause(HOSTILE)
    text = text_of(run)
    page, plain = Page(text), page_of(retried)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert "<img" not in text
    assert text.count("<script") == text.count("</script") == 2
    assert page.texts["script"][1] == plain.texts["script"][1]
    told = page.data["atoms"][0]
    assert told["attempts"][0]["code"].startswith("x = '''</script><script>alert(1)</script><!-- <img")
    assert told["attempts"][0]["errors"][0]["message"].startswith("</script>")
    assert page.texts["h1"][0].startswith("</script><script>alert(1)")


def test_the_data_tells_attempts_with_errors_code_and_diff(retried):
    a = page_of(retried).data["atoms"][0]
    first, second = a["attempts"]
    assert (first["passed"], first["errors"][0]["message"], first["diff"]) == (False, "it is 1, not 2", None)
    assert second["code"] == "def f_a():\n    return 2\n"
    assert second["diff"].splitlines() == [
        "--- attempt 1",
        "+++ attempt 2",
        "@@ -1,2 +1,2 @@",
        " def f_a():",
        "-    return 1",
        "+    return 2",
    ]
    assert [(span[0], span[1], span[4]) for span in a["spans"]] == [
        ("call", 1, "answered"),
        ("check", 1, "rejected"),
        ("call", 2, "server_error"),
        ("call", 2, "answered"),
        ("check", 2, "passed"),
    ]


def test_the_data_tells_waves_money_causes_and_what_to_review(retried):
    data = page_of(retried).data
    assert [wave["atoms_total"] for wave in data["waves"]] == [2, 1]
    assert all(wave["times"][0] <= wave["times"][1] for wave in data["waves"])
    assert data["money"][-1][1:] == [pytest.approx(0.07), 0]
    assert (data["run"]["budget_usd"], data["run"]["soft_usd"], data["run"]["simulated"]) == (1.0, 0.7, True)
    assert data["rejections"] == [{"level": Level.TESTS.value, "rule": "", "count": 5}]
    assert data["run"]["calls"]["by_kind"] == {"server_error:not_billed": 1}
    assert data["review"][0]["atom_id"] == "c"
    assert [one["confidence"] for one in data["atoms"]] == [42, 0, 60]


def test_the_page_says_at_once_what_happened_and_whether_it_is_simulated(retried):
    page = page_of(retried)
    assert page.texts["p"][1] == "2 of 3 atoms succeeded, 1 failed, in 30.0 s and for a simulated $0.07."
    assert "Simulated run" in page.texts["span"]
    assert "Live run" in page_of(driven("a")).texts["span"]


def test_an_execution_that_has_not_begun_has_a_page_too():
    data = page_of(driven("a", started=False)).data
    assert (data["run"]["status"], data["money"], data["atoms"][0]["attempts"]) == ("pending", [], [])


def test_the_forecast_is_on_the_page(retried):
    told = ForecastReport(final=True, rows=(), assumptions=())
    assert page_of(retried, forecast=told).data["forecast"] == {"final": True, "rows": [], "assumptions": []}


def test_two_thousand_atoms_with_long_code_stay_a_small_file():
    run = Driven(ExecutionMachine(EXECUTION_ID, many(2_000)))
    run.start(max_concurrency=2_000)
    answers = [generation("".join(f"value_{n} = {n + k}\n" for n in range(150))) for k in range(2)]
    for number in range(2_000):
        for answer in answers if number % 4 == 0 else answers[:1]:
            run.call(f"a{number}")
            run.arrive(f"a{number}", answer)
            run.check(f"a{number}")
            run.judge(f"a{number}", failed("no"))
    text = text_of(run)
    data = Page(text).data
    shown = sum(len(one["code"]) + len(one["diff"] or "") for told in data["atoms"] for one in told["attempts"])
    assert shown <= MAX_CODE_CHARS
    assert len(text) < 4_500_000
    assert data["code_cap"] < data["atoms"][0]["attempts"][0]["code_chars"]


def test_durations_are_said_as_people_do():
    assert [duration(seconds) for seconds in (0.04, 41.63, 100, 3_725)] == [
        "0.0 s",
        "41.6 s",
        "1 min 40 s",
        "1 h 2 min",
    ]
