"""The site that MkDocs builds, read in Chromium: its links, pictures, search and reference."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from browser import chromium, errors_on_console
from doc_blocks import DOCUMENTS, ROOT
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [pytest.mark.docs, pytest.mark.slow]
MADE_FOR_SERVERS = ('404.html',)  # with links from the root
# What a page has once its scripts have run.
READ_PAGE = """
return {
    ids: [...document.querySelectorAll('[id], a[name]')].map(element => element.id || element.name),
    links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
    fetched: performance.getEntriesByType('resource').map(entry => entry.name),
}
"""


@pytest.fixture(scope='module')
def browser() -> Iterator[Chrome]:
    with chromium() as found:
        yield found


@dataclass(frozen=True)
class Site:
    """A folder of pages, and the address at which it is served."""

    folder: Path
    address: str

    def pages(self) -> list[str]:
        """The addresses of all pages."""
        paths = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob('*.html'))
        return [self.address + path for path in sorted(paths) if path not in MADE_FOR_SERVERS]


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    """A folder, by a server on this machine."""
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Site(folder, f'http://127.0.0.1:{server.server_port}/')
        finally:
            server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Tells nothing of requests."""

    def log_message(self, *_: object) -> None:
        pass


def build(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a clone with the MkDocs of `make docs`, or another that is found."""
    own = ROOT / '.venv-docs/bin/mkdocs'
    mkdocs = str(own) if own.exists() else shutil.which('mkdocs')
    if mkdocs is None:
        pytest.skip('needs MkDocs: make docs')
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    command = [mkdocs, 'build', '--strict', '--site-dir', str(folder)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp('site')
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr[-4000:]
    with served(folder) as found:
        yield found


@pytest.fixture(scope='module')
def pages(browser: Chrome, site: Site) -> dict[str, dict[str, Any]]:
    """What the browser finds on each page, by its address."""
    return read_pages(browser, site)


def read_pages(browser: Chrome, site: Site) -> dict[str, dict[str, Any]]:
    """Each page of a site, once its scripts have run and its pictures are there or not."""
    found = {}
    errors_on_console(browser)
    for address in site.pages():
        browser.get(address)
        found[address] = {**browser.execute_script(READ_PAGE), 'errors': errors_on_console(browser)}
    return found


def problems(site: Site, pages: dict[str, dict[str, Any]]) -> list[str]:
    """What is wrong with pages: links that reach no page or no element, pictures, errors, what comes from elsewhere."""
    ids = {address: {*page['ids']} for address, page in pages.items()}
    told = []
    for address, page in pages.items():
        where = address.removeprefix(site.address)
        for link in filter(lambda link: link.startswith(site.address), page['links']):
            target, anchor = urldefrag(link)
            if target not in ids:
                if not (site.folder / unquote(target.removeprefix(site.address))).is_file():
                    told.append(f'{where}: {link} is not there')
            elif anchor and unquote(anchor) not in ids[target]:
                told.append(f'{where}: {link} names no element')
        told += [f'{where}: picture {source} does not load' for source in page['broken']]
        told += [f'{where}: console: {error}' for error in page['errors']]
        own = (site.address, 'data:', 'blob:')
        told += [f'{where}: fetches {name}' for name in page['fetched'] if not name.startswith(own)]
    return told


def test_links_pictures_and_scripts(pages: dict[str, dict[str, Any]], site: Site) -> None:
    assert len(pages) > len(DOCUMENTS)
    assert sum(len(page['links']) for page in pages.values()) > 1000
    assert not problems(site, pages)


def test_every_document_is_a_page(pages: dict[str, dict[str, Any]], site: Site) -> None:
    names = {'README.md': 'index', 'CONTRIBUTING.md': 'contributing'}
    wanted = {f'{site.address}{names.get(document, Path(document).stem)}.html' for document in DOCUMENTS}
    assert not wanted - pages.keys()


def test_what_documents_import_is_in_the_reference(pages: dict[str, dict[str, Any]]) -> None:
    ids = {name for page in pages.values() for name in page['ids']}
    text = '\n'.join((ROOT / document).read_text() for document in DOCUMENTS)
    imports = re.findall(r'^ *from (mmhybrid[\w.]*) import (.+)$', text, re.MULTILINE)
    names = {f'{module}.{name.strip()}' for module, names in imports for name in names.split(',')}
    assert len(names) > 20
    assert not names - ids


def test_the_search_finds_an_argument(browser: Chrome, site: Site) -> None:
    word = 'drop_path_rate'
    browser.get(site.address + 'index.html')
    field = browser.find_element(By.CSS_SELECTOR, '.md-search__input')
    browser.execute_script('arguments[0].focus()', field)
    field.send_keys(word)
    found = WebDriverWait(browser, 60).until(
        lambda _: browser.find_elements(By.CSS_SELECTOR, '.md-search-result__link')
    )
    browser.get(found[0].get_attribute('href'))
    assert word in browser.find_element(By.CSS_SELECTOR, 'article').text
    assert not errors_on_console(browser)


def test_no_page_is_wider_than_a_telephone(browser: Chrome, site: Site) -> None:
    """Tables and code scroll within the page."""
    metrics = {'width': 390, 'height': 844, 'deviceScaleFactor': 1, 'mobile': True}
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
    wide = {}
    try:
        for path in sorted(site.folder.glob('*.html')):
            browser.get(site.address + path.name)
            wide[path.name] = browser.execute_script('return document.documentElement.scrollWidth - innerWidth')
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    assert not {name: more for name, more in wide.items() if more > 0}


def test_what_is_broken_is_told(browser: Chrome, tmp_path: Path) -> None:
    (tmp_path / 'b.html').write_text('<h1 id="there">b</h1>')
    (tmp_path / 'a.html').write_text(
        '<a href="b.html#there"></a><a href="b.html#gone"></a><a href="c.html"></a><a href="#nowhere"></a>'
        '<img src="d.png"><script>missing()</script><img src="http://127.0.0.1:9/e.png">'
    )
    with served(tmp_path) as broken:
        told = problems(broken, read_pages(browser, broken))
    expected = [r'b\.html#gone names no element', r'c\.html is not there', r'a\.html#nowhere names no element']
    expected += [r'picture .*d\.png does not load', r'missing is not defined', r'fetches http://127.0.0.1:9/e.png']
    assert not [part for part in expected if not any(re.search(part, line) for line in told)], told
    assert not [line for line in told if '#there' in line]


def test_broken_links_end_the_build(tmp_path: Path) -> None:
    root = tmp_path / 'clone'
    root.mkdir()
    for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'mkdocs.yml'):
        shutil.copy(ROOT / name, root)
    for name in ('CITATION.cff', 'LICENSE', 'configs', 'examples', 'mmhybrid', 'requirements'):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / 'docs', root / 'docs', ignore=shutil.ignore_patterns('__pycache__'))
    with (root / 'docs/use_it.md').open('a') as file:
        file.write('\nSee [there](search.md#no-such-heading).\n')
    with (root / 'README.md').open('a') as file:
        file.write('\nSee [there](docs/no_such_page.md).\n')
    done = build(root, tmp_path / 'site')
    assert done.returncode
    assert 'no-such-heading' in done.stderr
    assert 'no_such_page' in done.stderr
