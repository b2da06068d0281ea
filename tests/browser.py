"""Pages in headless Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip('selenium')
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

ARGUMENTS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--window-size=1280,900')


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser, which keeps what pages write on its console; the test is skipped where there is none."""
    found, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if found is None or driver is None:
        pytest.skip('needs chromium and chromedriver (of Debian: apt install chromium chromium-driver)')
    options = ChromeOptions()
    options.binary_location = found
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    browser = Chrome(options=options, service=ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def errors_on_console(browser: Chrome) -> list[str]:
    """What pages have written there since it was last asked for, beside mere remarks."""
    return [entry['message'] for entry in browser.get_log('browser') if entry['level'] in ('SEVERE', 'WARNING')]
