"""The page of a search in Chromium: its tables sort, and no other script than its own runs."""

from collections.abc import Iterator

import pytest
from browser import chromium, errors_on_console
from search_toys import AUTOVIT, Smooth, in_memory, random_stage, settings
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from mmhybrid.search import SearchResult
from mmhybrid.search.result import KnownNetwork
from mmhybrid.visualization.page_parts import table
from mmhybrid.visualization.search_page import search_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def browser() -> Iterator[Chrome]:
    with chromium() as found:
        yield found


@pytest.fixture(scope='module')
def page() -> str:
    plan = settings(AUTOVIT, [random_stage()])
    result = SearchResult(plan, tuple(in_memory(plan, Smooth(AUTOVIT))))
    known = [
        KnownNetwork('b', {'params_m': 1e3, 'top1': 0.5}),
        KnownNetwork('a', {'params_m': 9.0}),
        KnownNetwork('c', {}),
    ]
    return search_page(result, 'work', known=known)


def column(browser: Chrome, head: str) -> tuple[list[str], str | None]:
    """Click the name of a column, of the last table that has it: its cells, downwards, and how they are sorted."""
    button = [found for found in browser.find_elements(By.CSS_SELECTOR, 'th button') if found.text == head][-1]
    button.click()
    cell = button.find_element(By.XPATH, '..')
    place = cell.get_property('cellIndex')
    rows = cell.find_elements(By.XPATH, '../following-sibling::tr')
    return [row.find_elements(By.TAG_NAME, 'td')[place].text for row in rows], cell.get_attribute('aria-sort')


def test_tables_sort(browser: Chrome, page: str, tmp_path) -> None:
    path = tmp_path / 'report.html'
    path.write_text(page)
    browser.get(path.as_uri())
    ranks, order = column(browser, 'rank')
    assert ranks == [str(rank) for rank in range(1, 11)]
    assert order == 'ascending'
    assert column(browser, 'rank')[0] == ranks[::-1]
    sizes, _ = column(browser, 'MACs, millions')
    assert [float(size) for size in sizes] == sorted(float(size) for size in sizes)
    assert sizes != ranks
    assert column(browser, 'known network') == (['a', 'b', 'c'], 'ascending')
    assert not errors_on_console(browser)


def test_what_has_no_number_comes_last(browser: Chrome, page: str, tmp_path) -> None:
    sorted_by = page.partition('<main>')[0] + table(['x'], [['9'], ['-'], ['1e3'], [''], ['-2']], {0})
    path = tmp_path / 'table.html'
    path.write_text(sorted_by + page[page.index('<script>') :])
    browser.get(path.as_uri())
    assert column(browser, 'x')[0][:3] == ['-2', '9', '1e3']
    assert column(browser, 'x')[0][:3] == ['1e3', '9', '-2']


def test_a_script_that_came_with_the_data_does_not_run(browser: Chrome, page: str, tmp_path) -> None:
    path = tmp_path / 'report.html'
    path.write_text(page.replace('<main>', '<main><script>document.title = "run"</script>'))
    browser.get(path.as_uri())
    assert browser.title == 'work'
    assert any('Content Security Policy' in error for error in errors_on_console(browser))


def test_it_fits_a_telephone(browser: Chrome, page: str, tmp_path) -> None:
    path = tmp_path / 'report.html'
    path.write_text(page)
    metrics = {'width': 390, 'height': 844, 'deviceScaleFactor': 1, 'mobile': True}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
    try:
        browser.get(path.as_uri())
        assert browser.execute_script('return document.documentElement.scrollWidth') == 390
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
