"""The site of docs/php.md in a real browser: its page shows what its PHP pushes."""

import os
import pathlib
import sys

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import harness  # noqa: E402
from test_demo_page import browser  # noqa: E402,F401
from test_languages import Site, make_php_site, start_php_site  # noqa: E402


@pytest.fixture
def port():
    if not os.path.exists(harness.RESPONDER):
        raise pytest.UsageError("no responder in %s: build it, or set DW_BUILD" % harness.BUILD)
    world = harness.World(AUTH_UID=None, AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None)
    try:
        site = Site(world)
        make_php_site(site)
        yield start_php_site(site)
    finally:
        wrong = world.close()
        world.remove()
        assert wrong is None, wrong


def test_what_order_php_pushes_appears_in_the_other_tab(browser, port):  # noqa: F811
    url = "http://127.0.0.1:%d/" % port
    browser.get(url + "index.php")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(url + "order.php")
    assert browser.find_element(By.TAG_NAME, "body").text == "Ordered."
    browser.switch_to.window(first)
    rows = WebDriverWait(browser, 10, poll_frequency=0.05).until(
        lambda b: [row.text for row in b.find_elements(By.CSS_SELECTOR, "#events li")])
    assert rows == ['shop/ordered {"item":"tea"}']
