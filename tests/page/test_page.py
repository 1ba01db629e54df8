"""The live page, looked at with Chromium: a real service, real executions against the simulated provider."""

from __future__ import annotations

import difflib
import random
import re
import shlex
import subprocess
import zipfile

import pytest
from playwright.sync_api import expect

from mge_ray.domain.access import Role
from tests.page.plans import star, units
from tests.page.sight import heard, listen, violations

END_MS = 60_000
HOSTILE = "fails <img src=x onerror=alert(1)>"
FITS = "document.documentElement.scrollWidth <= innerWidth"
WHOLE_TABLES = "[...document.querySelectorAll('.scroll')].every((one) => one.scrollWidth <= one.clientWidth)"
ANNOUNCED = re.compile(
    r"(running|paused|completed)(: .+)?\. \d+ of 18 atoms succeeded\.|\d+ of 18 atoms done, 0 failed or blocked"
)
OFFERED = {
    Role.VIEWER: ["Download the project"],
    Role.OPERATOR: ["Retry failed …", "Download the project"],
    Role.ADMIN: ["Retry failed …", "Budget …", "Download the project"],
}


@pytest.fixture(scope="module")
def failed(service):
    """An execution with an atom that failed and one that rests on it, at its end."""
    execution_id = service.start(units(HOSTILE, 4, broken=True))
    assert service.ended(execution_id)["status"] == "failed"
    return execution_id


def figure(page, term):
    return page.locator(".figures > div", has_text=term).locator("dd > span")


def test_a_run_is_watched_to_its_end(look, service):
    execution_id = service.start(units("watched", 18, waves=3, max_concurrency=6))
    page = look(f"#/{execution_id}")
    expect(page.get_by_role("heading", name="watched")).to_be_visible()
    expect(page.locator(".standing")).to_contain_text("running")
    expect(page.locator(".standing")).to_contain_text("simulated")
    expect(page.locator(".standing .status")).to_have_text("completed", timeout=END_MS)
    expect(figure(page, "Done")).to_have_text("100 %")
    expect(page.locator("table.waves tbody tr")).to_have_count(3)
    for row in page.locator("table.waves tbody tr").all():
        expect(row).to_contain_text("6 of 6")
    expect(page.locator("table.atoms tbody tr", has_text="succeeded")).to_have_count(18)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    expect(page).to_have_title(re.compile("completed · watched"))
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download the project").click()
    assert "lib/units.py" in zipfile.ZipFile(taken.value.path()).namelist()


def test_it_is_paused_and_resumed_by_button(look, service):
    execution_id = service.start(units("paused", 12, waves=3, max_concurrency=2))
    page = look(f"#/{execution_id}")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".standing .status")).to_have_text("paused")
    assert service.call("GET", f"/{execution_id}")["status"] == "paused"
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_be_focused()
    page.get_by_role("button", name="Concurrency …").click()
    page.get_by_label("At most").fill("12")
    page.get_by_role("button", name="Set the bound").click()
    expect(page.locator(".figures")).to_contain_text("at most 12 calls")
    page.get_by_role("button", name="Budget …").click()
    page.get_by_label("Limit in US dollars").fill("7.5")
    page.get_by_role("button", name="Set the limit").click()
    expect(page.get_by_role("dialog")).to_contain_text("Reason:")
    page.get_by_label("Reason").fill("more atoms")
    page.get_by_role("button", name="Set the limit").click()
    expect(page.locator(".amounts")).to_contain_text("$7.50")
    resume.click()
    expect(page.locator(".standing .status")).to_have_text("completed", timeout=END_MS)


def test_it_is_cancelled_only_after_the_dialog(look, service):
    execution_id = service.start(units("cancelled", 24, waves=3, max_concurrency=1))
    page = look(f"#/{execution_id}")
    page.get_by_role("button", name="Cancel …").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel …")).to_be_focused()
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_label("Reason").fill("wrong plan")
    page.get_by_role("button", name="Cancel the execution").click()
    expect(page.locator(".standing")).to_contain_text("cancelled")
    assert service.call("GET", f"/{execution_id}")["reason"] == "wrong plan"


def test_a_failed_atom_shows_its_assertion_and_what_its_attempts_changed(look, failed):
    page = look(f"#/{failed}")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.locator(".figures")).to_contain_text("4 succeeded, 1 failed, 1 blocked")
    page.get_by_role("button", name=re.compile(r"^Failed \d+")).click()
    expect(page.locator("table.atoms tbody tr")).to_have_count(1)
    page.get_by_role("link", name="broken_total").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("broken_total")
    why = page.get_by_role("region", name="Why it failed")
    expect(why).to_contain_text(re.compile(r"test_broken_total: AssertionError: assert -?\d+ == 7"))
    expect(why).to_contain_text("([3, -1, 4])")
    tabs = page.get_by_role("tab")
    expect(tabs).to_have_count(4)
    changed = 0
    for number in range(1, 4):
        tabs.nth(number).click()
        expect(page.get_by_role("tabpanel")).to_contain_text(f"Changes since attempt {number}")
        diff = page.get_by_role("region", name="Changes")
        if diff.count():
            changed += 1
            expect(diff.locator("del")).to_contain_text("return total")
            expect(diff.locator("ins")).to_contain_text("return total")
            expect(diff).to_contain_text("total += amount")
    assert changed
    page.get_by_text("Prompt", exact=True).click()
    expect(page.get_by_role("region", name="Request")).to_contain_text("def broken_total")
    page.go_back()
    expect(page.get_by_role("link", name="broken_total")).to_be_focused()


def test_code_written_by_hand_opens_what_a_failed_atom_blocked(look, service):
    execution_id = service.start(units("retried", 2, broken=True))
    service.ended(execution_id)
    page = look(f"#/{execution_id}/atom/unit39", refused=400)
    expect(page.locator(".standing .status")).to_have_text("blocked")
    page.get_by_role("link", name="broken_total").click()
    above = page.get_by_role("group", name="Needed by")
    expect(above.get_by_role("listitem")).to_have_text("blocked unit39")
    page.get_by_role("button", name="Write it by hand …").click()
    page.get_by_role("textbox", name="Code").fill("def broken_total(amounts: list[int]) -> int:\n    return 0")
    page.get_by_role("button", name="Check and use it").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("assert", timeout=END_MS)
    page.get_by_role("textbox", name="Code").fill(
        "def broken_total(amounts: list[int]) -> int:\n    return sum(one for one in amounts if one > 0)"
    )
    page.get_by_role("button", name="Check and use it").click()
    expect(page.locator(".standing .status")).to_have_text("succeeded", timeout=END_MS)
    expect(above.get_by_role("listitem")).to_have_text(re.compile("^(ready|pending) unit39$"))
    page.get_by_role("navigation", name="Place").get_by_role("link").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".standing .status")).to_have_text("completed", timeout=END_MS)


def test_a_refusal_is_said_in_words(look, service):
    page = look("#/00000000-0000-0000-0000-00000000ffff", refused=404)
    expect(page.get_by_role("status").first).to_contain_text("no execution")


def test_it_says_that_the_engine_restarts_and_goes_on_by_itself(look, failed):
    page = look(refused=503)
    expect(page.get_by_role("link", name="fails").first).to_be_visible()
    away = {"status": 503, "headers": {"Retry-After": "1"}, "json": {"detail": "the coordinator restarts"}}
    page.route("**/api/v2/execution/**", lambda route: route.fulfill(**away))
    page.get_by_role("link", name="fails").first.click()
    expect(page.locator("#link")).to_contain_text("The engine is restarting")
    page.unroute_all()
    expect(page.locator("table.atoms tbody tr")).to_have_count(6)
    expect(page.locator("#link")).to_be_hidden()


def test_differences_are_whole_and_small(look):
    page = look(path="/docs")
    draw = random.Random(7)  # noqa: S311  # texts, no secrets
    pairs = [["\n".join(draw.choices("abcd", k=draw.randrange(12))) for _ in range(2)] for _ in range(200)]
    found = page.evaluate(
        "pairs => import('/page/diff.js').then(({ diff }) => pairs.map(([a, b]) => diff(a, b)))",
        pairs,
    )
    for (before, after), lines in zip(pairs, found, strict=True):
        assert [line for kind, line in lines if kind != "add"] == before.split("\n")
        assert [line for kind, line in lines if kind != "del"] == after.split("\n")
        blocks = difflib.SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
        alike = sum(block.size for block in blocks.get_matching_blocks())
        assert sum(kind == "same" for kind, _ in lines) >= alike


def test_a_wrong_token_is_refused_and_a_right_one_lets_in(look, service, failed):
    page = look(token="", refused=401)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("unknown, revoked or expired")
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_label("Token").fill(service.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="fails").first).to_be_visible()
    page.get_by_role("button", name="Forget the token").click()
    expect(page.get_by_label("Token")).to_be_focused()


def test_the_keyboard_alone_opens_an_execution_and_an_atom(look, failed):
    page = look()
    expect(page.get_by_role("link", name="fails").first).to_be_visible()
    tab_to(page, f"#/{failed}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="fails")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()
    expect(page.get_by_role("link", name="broken_total")).to_be_visible()
    tab_to(page, f"#/{failed}/atom/broken_total")
    page.keyboard.press("Enter")
    page.get_by_role("tab").last.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab").nth(2)).to_be_focused()
    expect(page.get_by_role("tab").nth(2)).to_have_attribute("aria-selected", "true")


def tab_to(page, href):
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href')") == href:
            return
    raise AssertionError(f"no way to {href} by the Tab key")


def test_it_fits_a_narrow_screen(look, failed):
    page = look(f"#/{failed}", viewport={"width": 400, "height": 800})
    expect(page.locator("table.atoms tbody tr")).to_have_count(6)
    assert page.evaluate(FITS)
    assert page.evaluate(WHOLE_TABLES)
    page.get_by_role("link", name="broken_total").click()
    expect(page.get_by_role("tab")).to_have_count(4)
    assert page.evaluate(FITS)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 27)"


def test_no_view_breaks_a_rule_of_accessibility(look, failed):
    found: dict[str, list[str]] = {}
    page = look()
    expect(page.get_by_role("link", name="fails").first).to_be_visible()
    found["list"] = violations(page)
    page.goto(f"{page.url.partition('#')[0]}#/{failed}")
    expect(page.locator("table.atoms tbody tr")).to_have_count(6)
    found["execution"] = violations(page)
    page.get_by_role("button", name="Budget …").click()
    found["dialog"] = violations(page)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="broken_total").click()
    expect(page.get_by_role("tab")).to_have_count(4)
    page.get_by_text("Prompt", exact=True).click()
    while not page.get_by_role("region", name="Changes").count():  # an answer may be the same code again
        page.get_by_role("tab").locator(":scope[aria-selected=true]").press("ArrowLeft")
    found["atom"] = violations(page)
    page.get_by_role("button", name="Forget the token").click()
    expect(page.get_by_label("Token")).to_be_focused()
    found["token"] = violations(page)
    page = look(path="/docs")
    expect(page.get_by_role("heading", name="Schemas")).to_be_visible()
    for summary in page.locator("summary").all()[:4]:
        summary.click()
    found["docs"] = violations(page)
    assert {view: rules for view, rules in found.items() if rules} == {}


def test_what_breaks_a_rule_is_found(look):
    page = look(token="")
    expect(page.get_by_label("Token")).to_be_focused()
    page.evaluate(
        """() => {
        const pale = document.createElement('p');
        pale.textContent = 'hardly to be read';
        pale.style.color = 'light-dark(white, #333)';
        document.querySelector('main').append(document.createElement('img'), pale);
        }"""
    )
    found = [(rule.partition(":")[0], rule.endswith("(dark)")) for rule in violations(page)]
    assert set(found) == {("color-contrast", False), ("image-alt", False), ("color-contrast", True)}


def test_readers_are_told_of_changes_of_status_and_not_of_every_event(look, service):
    execution_id = service.start(units("announced", 18, waves=3, max_concurrency=4))
    page = look(f"#/{execution_id}")
    expect(page.get_by_role("heading", name="announced")).to_be_visible()
    listen(page)
    told = page.get_by_role("status")
    service.call("POST", f"/{execution_id}/pause", {"reason": "lunch"})
    expect(told.filter(has_text=re.compile(r"^paused: lunch\. \d+ of 18 atoms succeeded"))).to_have_count(1)
    assert violations(page) == []
    service.call("POST", f"/{execution_id}/resume")
    expect(told.filter(has_text="completed. 18 of 18 atoms succeeded.")).to_have_count(1, timeout=END_MS)
    said = heard(page)
    assert all(ANNOUNCED.fullmatch(text) for text in said), said
    events = service.call("GET", f"/{execution_id}/events?limit=1000")["events"]
    assert len(said) < 18 < len(events)


@pytest.mark.parametrize("role", Role)
def test_only_what_the_token_may_do_is_offered(look, service, failed, role):
    page = look(token=service.token_of(role))
    whose = page.get_by_role("banner").get_by_text(f"the {role.value} · {role.value}")
    expect(whose).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(whose).to_be_visible()
    page.get_by_role("link", name="fails").first.click()
    expect(page.locator("table.atoms tbody tr")).to_have_count(6)
    offered = page.get_by_role("group", name="Control").get_by_role("button")
    expect(offered).to_have_text(OFFERED[role])
    page.get_by_role("link", name="broken_total").click()
    expect(page.get_by_role("tab")).to_have_count(4)
    expect(offered).to_have_text(
        [] if role is Role.VIEWER else ["Retry this atom", "Use it despite failure …", "Write it by hand …"]
    )
    assert sum(url.endswith("/whoami") for url in asked) == 1
    page.get_by_role("button", name="Forget the token").click()
    expect(whose).to_be_hidden()


def test_everything_is_offered_where_the_role_cannot_be_found_out(look, service, failed):
    page = look(token="", refused=403)
    page.route("**/whoami", lambda route: route.fulfill(status=403, json={"detail": "not for you"}))
    page.get_by_label("Token").fill(service.token_of(Role.VIEWER))
    page.keyboard.press("Enter")
    page.get_by_role("link", name="fails").first.click()
    page.get_by_role("button", name="Retry failed …").click()
    page.get_by_role("button", name="Grant new attempts").click()
    expect(page.get_by_role("alert")).to_contain_text("this needs a token of role operator; yours is viewer")


def test_an_atom_of_two_thousand_shows_its_neighbours_as_links_with_their_state(look, service):
    execution_id = service.start(star("star", 1_998))
    service.call("POST", f"/{execution_id}/cancel")
    page = look(f"#/{execution_id}/atom/hub")
    below, above = (page.get_by_role("group", name=name) for name in ("Rests on", "Needed by"))
    expect(below).to_contain_text("nothing")
    expect(above).to_contain_text("1,998 atoms: 1,998 cancelled")
    expect(above.get_by_role("link")).to_have_count(12)
    above.get_by_role("button", name="Show all 1,998").click()
    expect(above.get_by_role("link")).to_have_count(1_998)
    expect(above.get_by_role("link").nth(12)).to_be_focused()
    above.get_by_role("link", name="ray1997").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ray1997")
    expect(below.get_by_role("listitem")).to_have_text("cancelled hub")
    expect(above.get_by_role("link")).to_have_text("rim")


def test_commands_of_the_api_page_work_when_they_are_pasted(look, service, failed, tmp_path):
    page = look(path="/docs")
    page.get_by_role("textbox", name="Execution").fill(failed)
    page.get_by_role("textbox", name="Atom").fill("broken_total")
    commands = [text for text in page.locator("pre").all_inner_texts() if text.startswith("curl")]
    assert len(commands) > 20
    reading = [text for text in commands if "-X" not in text]
    assert len(reading) > 10
    for text in reading:
        ran = subprocess.run(
            ["bash", "-c", f"{text} --fail --max-time 60"],  # noqa: S607
            env={"PATH": "/usr/bin:/bin", "TOKEN": service.token},
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, f"{text}\n{ran.stderr.decode()}"
    start = next(text for text in commands if "/start" in text)
    assert shlex.split(start)[:4] == ["curl", "-sS", "-X", "POST"]
    ran = subprocess.run(
        ["bash", "-c", f"{start} --fail"],  # noqa: S607
        env={"PATH": "/usr/bin:/bin", "TOKEN": service.token},
        capture_output=True,
        check=True,
    )
    assert b'"execution_id"' in ran.stdout
