"""The demo page of ./quickstart in a real browser (headless Chromium): what a newcomer does in the first minute.

./runtests runs this with /usr/bin/python3, for which Debian packages Selenium.  DW_SCREENSHOT=FILE.png
saves how the page looks after all three ways of getting an event.
"""

import contextlib
import http.client
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

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


def sidecars(output):
    """The sidecar's process ids, so far, by what quickstart prints."""
    output.seek(0)
    return [int(pid) for pid in re.findall(r"dumbwaiter-ws, process (\d+)", output.read())]


@contextlib.contextmanager
def run_quickstart():
    """./quickstart as a person starts it; gives the process, the URL and the command that it prints."""
    with tempfile.TemporaryFile("w+") as output:
        port = str(free_port())
        program = subprocess.Popen(
            [str(ROOT / "quickstart"), "--port", port],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            # A shell's background job ignores Ctrl-C, and so would what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
            yield {"process": program, "sidecar": lambda: sidecars(output)[-1], "url": words["Open"].split(None, 1)[1], "push": words["and"].removeprefix("and push").strip()}
        finally:
            if program.poll() is None:
                program.send_signal(signal.SIGTERM)
            program.wait(timeout=30)


@pytest.fixture(scope="module")
def quickstart():
    with run_quickstart() as running:
        yield running


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


def status(browser):
    """(state, transport) as the page shows them"""
    element = browser.find_element(By.ID, "status")
    return element.get_attribute("data-state"), element.get_attribute("data-transport")


def open_page(browser, url, transport="WebSocket"):
    browser.get(url)
    until(browser, lambda b: status(b) == ("open", transport))
    assert browser.find_element(By.ID, "status").text == f"connected over {transport}"


def events(browser):
    return [row.text.splitlines() for row in browser.find_elements(By.CSS_SELECTOR, "#events li")]


def texts(browser):
    """What arrived, in the order of arrival; read at once, so that no row comes in between."""
    return browser.execute_script("return [...document.querySelectorAll('#events .data')].map(e => e.textContent)")[::-1]


def push(quickstart, text):
    subprocess.run(shlex.split(quickstart["push"].replace("Hello from SQL", text)), check=True)


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


def test_a_page_without_websocket_works_beside_one_with_it(browser, quickstart):
    open_page(browser, quickstart["url"] + "?ajax", "Ajax")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    open_page(browser, quickstart["url"])
    browser.find_element(By.ID, "say").click()
    until(browser, lambda b: texts(b) == ["Hello from the browser"])
    browser.close()
    browser.switch_to.window(first)
    until(browser, lambda b: texts(b) == ["Hello from the browser"])
    browser.find_element(By.ID, "ask").click()
    until(browser, lambda b: b.find_element(By.ID, "answer").text.startswith("Reply after "))


def test_the_page_goes_on_by_ajax_when_the_sidecar_is_killed_and_comes_back(browser, quickstart):
    open_page(browser, quickstart["url"])
    push(quickstart, "over the WebSocket")
    until(browser, lambda b: texts(b) == ["over the WebSocket"])
    proven = until(browser, lambda b: b.execute_script("return performance.now()"))
    until(browser, lambda b: b.execute_script("return performance.now()") > proven + 1000)  # ws_barrier_ms is 100
    killed = quickstart["sidecar"]()
    os.kill(killed, signal.SIGKILL)
    push(quickstart, "while there is no connection")
    until(browser, lambda b: status(b) == ("open", "Ajax"))
    until(browser, lambda b: len(texts(b)) >= 2)
    push(quickstart, "over Ajax")
    expected = ["over the WebSocket", "while there is no connection", "over Ajax"]
    until(browser, lambda b: len(texts(b)) >= 3)
    assert texts(browser) == expected
    if os.environ.get("DW_SCREENSHOT"):
        time.sleep(2)
        browser.save_screenshot(os.environ["DW_SCREENSHOT"].replace(".png", "-ajax.png"))

    # quickstart starts it again; the page tries again by itself.
    WebDriverWait(browser, 90).until(lambda b: status(b) == ("open", "WebSocket"))
    assert quickstart["sidecar"]() != killed
    push(quickstart, "over the WebSocket again")
    until(browser, lambda b: len(texts(b)) >= 4)
    assert texts(browser) == [*expected, "over the WebSocket again"]


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


def test_a_long_event_name_fits_on_a_phone(browser, quickstart):
    metrics = {"width": 390, "height": 1500, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        open_page(browser, quickstart["url"])
        long = quickstart["push"].replace("demo/hello", "a.long.namespace.of.an/event-name-that-is-rather-long")
        subprocess.run(shlex.split(long.replace("Hello from SQL", "W" * 200)), check=True)
        until(browser, lambda b: len(events(b)) == 1)
        if os.environ.get("DW_SCREENSHOT"):
            time.sleep(2)
            browser.save_screenshot(os.environ["DW_SCREENSHOT"].replace(".png", "-phone.png"))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_ctrl_c_closes_the_websocket_and_leaves_no_process(browser):
    with run_quickstart() as running:
        open_page(browser, running["url"])
        browser.execute_script("""
            const socket = new WebSocket(`ws://${location.host}/chsk?packer=json&client-id=other&csrf-token=` +
                document.querySelector('meta[name="csrf-token"]').content);
            socket.onmessage = () => { window.opened = true; };
            socket.onclose = (event) => { window.closedWith = event.code; };""")
        until(browser, lambda b: b.execute_script("return window.opened"))
        running["process"].send_signal(signal.SIGINT)
        assert until(browser, lambda b: b.execute_script("return window.closedWith")) == 1001
        running["process"].wait(timeout=30)
        with pytest.raises(ProcessLookupError):
            os.kill(running["sidecar"](), 0)


def test_ctrl_c_answers_the_polls_that_are_held():
    with run_quickstart() as running:
        with urllib.request.urlopen(running["url"]) as page:
            cookie = page.headers["Set-Cookie"].split(";")[0]
            token = re.search('name="csrf-token" content="([^"]*)"', page.read().decode()).group(1)

        def ask(query):
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(running["url"]).netloc, timeout=30)
            connection.request("GET", "/chsk?packer=json&client-id=c&udt=1" + query,
                               headers={"Cookie": cookie, "X-CSRF-Token": token})
            return connection
        assert b"chsk/handshake" in ask("&handshake?=1").getresponse().read()
        held = ask("")
        time.sleep(0.5)  # it is held by now; an answer before the signal would be a time-out only after 20 s
        begin = time.monotonic()
        running["process"].send_signal(signal.SIGINT)
        answer = held.getresponse()
        assert (answer.status, answer.read()) == (200, b'["chsk/timeout",null]')
        assert time.monotonic() - begin < 5
        running["process"].wait(timeout=30)
