"""How the page is looked at by those who do not see it, or see it badly: axe's rules, and what is announced."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules whose verdict depends on the scheme."""
_HEAR = """() => {
  window.heard = [];
  const told = document.getElementById('told');
  new MutationObserver(() => window.heard.push(told.textContent)).observe(told, { childList: true });
}"""


def violations(page: Page) -> list[str]:
    """Return where the page, as it stands, breaks a rule of WCAG 2 A or AA, or of good practice, in either scheme."""
    page.emulate_media(color_scheme="dark")
    dark = _broken(page, {"type": "rule", "values": COLOURS})
    page.emulate_media(color_scheme="light")
    return [*_broken(page, {"type": "tag", "values": TAGS}), *(f"{one} (dark)" for one in dark)]


def _broken(page: Page, which: dict[str, object]) -> list[str]:
    found = Axe().run(page, options={"runOnly": which, "resultTypes": ["violations"]}).response
    assert found["passes"], "no rule was applied"
    return [
        f"{rule['id']}: {', '.join(map(str, node['target']))}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def listen(page: Page) -> None:
    """Keep from now on what readers are told."""
    page.evaluate(_HEAR)


def heard(page: Page) -> list[str]:
    """Return what readers were told since `listen`."""
    said: list[str] = page.evaluate("window.heard")
    return said
