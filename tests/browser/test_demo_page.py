"""The demo page of ./quickstart in a real browser (headless Chromium): what a newcomer does in the first minute.

./runtests runs this with /usr/bin/python3, for which Debian packages Selenium.  DW_SCREENSHOT=FILE.png
saves how the page looks after all three ways of getting an event.
"""

import os
import pathlib
import shlex
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def quickstart():
    """./quickstart as a person starts it; gives the URL and the command that it prints."""
    with tempfile.TemporaryFile("w+") as output:
        port = str(free_port())
        program = subprocess.Popen(
            [str(ROOT / "quickstart"), "--port", port],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            for _ in range(3000):  # a first build takes a while
                output.seek(0)
                text = output.read()
                if "Ctrl-C stops everything" in text:
                    break
                assert program.poll() is None, text
                time.sleep(0.1)
            words = {line.split(None, 1)[0]: line.strip() for line in text.splitlines() if line.strip()}
            yield {"url": words["Open"].split(None, 1)[1], "push": words["and"].removeprefix("and push").strip()}
        finally:
            program.send_signal(signal.SIGTERM)
            program.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--window-size=900,1150", f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        try:
            yield driver
        finally:
            driver.quit()


def until(browser, condition):
    return WebDriverWait(browser, SECONDS, poll_frequency=0.02).until(condition)


def open_page(browser, url):
    browser.get(url)
    until(browser, lambda b: b.find_element(By.ID, "status").get_attribute("data-state") == "open")


def events(browser):
    return [row.text.splitlines() for row in browser.find_elements(By.CSS_SELECTOR, "#events li")]


def test_the_page_connects_as_the_session_s_user(browser, quickstart):
    open_page(browser, quickstart["url"])
    assert browser.find_element(By.ID, "uid").text == "demo"
    assert browser.find_element(By.ID, "empty").is_displayed()


def test_the_page_shows_the_command_that_quickstart_prints(browser, quickstart):
    open_page(browser, quickstart["url"])
    assert browser.find_element(By.ID, "command").text == quickstart["push"]


def test_the_printed_sqlite3_command_makes_a_message_appear(browser, quickstart):
    open_page(browser, quickstart["url"])
    command = shlex.split(quickstart["push"])
    subprocess.run(command, check=True)
    until(browser, lambda b: len(events(b)) == 1)
    assert events(browser)[0][1:] == ["demo/hello", "Hello from SQL"]
    subprocess.run(command, check=True)
    until(browser, lambda b: len(events(b)) == 2)


def test_a_message_of_the_page_comes_back_to_every_tab(browser, quickstart):
    open_page(browser, quickstart["url"])
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    open_page(browser, quickstart["url"])
    browser.find_element(By.ID, "say").click()
    for tab in (second, first):
        browser.switch_to.window(tab)
        until(browser, lambda b: len(events(b)) == 1)
        assert events(browser)[0][1:] == ["demo/said", "Hello from the browser"]
    browser.switch_to.window(second)
    browser.close()
    browser.switch_to.window(first)


def test_a_question_of_the_page_is_answered_by_a_trigger(browser, quickstart):
    open_page(browser, quickstart["url"])
    browser.find_element(By.ID, "ask").click()
    answer = until(browser, lambda b: b.find_element(By.ID, "answer").text)
    assert answer.startswith("Reply after ") and '"Hello from the browser" is message number' in answer
    subprocess.run(shlex.split(quickstart["push"]), check=True)
    browser.find_element(By.ID, "say").click()
    until(browser, lambda b: len(events(b)) == 2)
    if os.environ.get("DW_SCREENSHOT"):
        time.sleep(2)  # the highlighting of new rows has faded
        browser.save_screenshot(os.environ["DW_SCREENSHOT"])
