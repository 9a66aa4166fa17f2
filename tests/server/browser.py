"""The user interface of a real server in headless Chromium, as its user sees and drives it.

Test ids are those of LangFlow's own browser tests; written for LangFlow 1.13.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS = 60_000


@dataclass
class Node:
    """A component on the canvas.

    Attributes:
        title: As it is shown.
        handles: Its inputs and outputs, as edges can be tied to them.
        is_timed: Whether it shows how long it took.
    """

    title: str
    handles: list[str]
    is_timed: bool


@dataclass
class Ui:
    """A browser window.

    Attributes:
        refused: Requests that were answered with an error: method, path, status.
        errors: What the page's own code raised.
    """

    page: Page
    url: str
    refused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def new_flow(self) -> None:
        """From the start page to an empty canvas with the list of components beside it."""
        self.page.goto(self.url)
        self._id("new-project-btn").first.click()
        self._id("flow-builder-welcome-blank-flow").click()
        self._id("flow-builder-welcome").wait_for(state="detached")
        self._id("assistant-onboarding-dismiss").click()
        self._id("components").click()

    def drag_in(self, name: str, x: int) -> None:
        """Find a component of the group Input & Output in the list, and drag it to the canvas."""
        self._id("sidebar-search-input").fill(name)
        target = {"x": x, "y": 300}
        self._id(f"input_output{name}").first.drag_to(self._id("rf__wrapper"), target_position=target)

    def new_component(self, code: str) -> None:
        """Press New Custom Component and write its code."""
        self._id("sidebar-custom-component-button").click()
        self.write_code("Custom Component", code)

    def write_code(self, title: str, code: str) -> None:
        """Replace the code of the component with this title in the code editor."""
        self._id(f"title-{title}").click()
        self._id("code-button-modal").click()
        self.page.locator(".ace_content").click()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.locator("textarea").last.fill(code)
        self._id("checkAndSaveBtn").click()
        self._id("checkAndSaveBtn").wait_for(state="detached")

    def connect(self, source: str, target: str) -> None:
        """Click on a handle and on another one; test ids."""
        edges = self.page.locator(".react-flow__edge")
        before = edges.count()
        self._id(source).click()
        self._id(target).click()
        edges.nth(before).wait_for(state="attached")

    def open_playground(self) -> None:
        self._id("playground-btn-flow-io").click()
        self._id("input-chat-playground").wait_for()

    def close_playground(self) -> None:
        self._id("playground-close-button").click()
        self._id("playground-close-button").wait_for(state="hidden")

    def send(self, text: str) -> None:
        """Say something in the playground, and wait until the run is over."""
        self._id("input-chat-playground").fill(text)
        with self._run():
            self._id("button-send").last.click()
        self._id("button-stop").wait_for(state="detached")

    def press_run(self, title: str) -> None:
        """Press the button of one component, and wait until the run is over."""
        with self._run():
            self._id(f"button_run_{title.lower()}").click()
        self._id("stop_building_button").wait_for(state="detached")

    @contextmanager
    def _run(self) -> Iterator[None]:
        with self.page.expect_response(lambda response: _is_run(response)) as response:
            yield
        response.value.finished()

    def messages(self) -> list[str]:
        """What stands in the playground: who, and what."""
        found = self.page.locator('[data-testid^="chat-message-"]').all()
        ids = [str(each.get_attribute("data-testid")) for each in found]
        return [each.removeprefix("chat-message-") for each in ids if each != "chat-message-token-usage"]

    def nodes(self) -> list[Node]:
        """From left to right."""
        shown = self.page.locator(".react-flow__node").all()
        return [self._node(each) for each in sorted(shown, key=lambda each: each.bounding_box()["x"])]

    def _node(self, shown: Any) -> Node:
        handles = [each.get_attribute("data-testid") for each in shown.locator('[data-testid^="handle-"]').all()]
        return Node(
            title=shown.locator('[data-testid="node-name"]').inner_text(),
            handles=[each.removeprefix("handle-") for each in handles],
            is_timed=shown.locator('[data-testid^="node_duration_"]').count() > 0,
        )

    def complaint(self) -> str:
        """What the message in the corner says, once it is there."""
        shown = self.page.locator(".error-build-message")
        shown.wait_for()
        return str(shown.inner_text())

    def complains(self) -> bool:
        """Whether it shows an error anywhere."""
        return self.page.locator(".error-build-message, [data-testid='error-card']").count() > 0

    def _id(self, name: str) -> Any:
        return self.page.locator(f'[data-testid="{name}"]')


def _is_run(response: Response) -> bool:
    request = response.request
    return request.method == "POST" and ("/api/v2/workflows" in request.url or "/api/v1/build/" in request.url)


@contextmanager
def browser(url: str) -> Iterator[Ui]:
    """A window of a browser that has never been here."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 850})
        page.set_default_timeout(_PATIENCE_MS)
        ui = Ui(page, url)
        page.on("response", lambda response: _note(ui, response))
        page.on("pageerror", lambda error: ui.errors.append(str(error)))
        try:
            yield ui
        finally:
            chromium.close()


def _note(ui: Ui, response: Response) -> None:
    if response.status >= 400 and response.url.startswith(ui.url):
        ui.refused.append(f"{response.request.method} {response.url.removeprefix(ui.url)} {response.status}")
