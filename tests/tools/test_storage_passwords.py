"""The password of a storage leaves the process to the database alone."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import search as search_tool
import search_report
from mmengine.config import Config
from postgres_server import PostgresServer
from search_demo import make_search
from search_toys import AUTOVIT, Smooth, estimate, random_stage, settings

from mmhybrid.apis.configs import load_config
from mmhybrid.search import Searcher, StorageError, StudyStorage, connecting, read_study
from mmhybrid.search.config import settings_from_data
from mmhybrid.utils import addresses
from mmhybrid.utils.addresses import VARIABLE, masked, revealed, without_passwords

SECRET, ESCAPED = 's3cr3t@pass', 's3cr3t%40pass'
PLAN = settings(AUTOVIT, [random_stage(budget=2, population=2)])


@pytest.mark.parametrize(
    ('address', 'shown'),
    [
        (f'postgresql://me:{ESCAPED}@host/db', 'postgresql://me:***@host/db'),
        (f'postgresql+psycopg://me:{SECRET}@host:5432/db?a=b@c', 'postgresql+psycopg://me:***@host:5432/db?a=b@c'),
        (f'mysql://:{SECRET}@host', 'mysql://:***@host'),
        (f'postgresql://me@host/db?sslmode=a&password={ESCAPED}', 'postgresql://me@host/db?sslmode=a&password=***'),
        (f'postgresql://me@host/db?sslpassword={SECRET}&a=b', 'postgresql://me@host/db?sslpassword=***&a=b'),
        (f'postgresql://host/db?user=me;password={SECRET}', 'postgresql://host/db?user=me;password=***'),
        (f'mssql+pyodbc:///?odbc_connect=UID=me;PWD={SECRET};A=b', 'mssql+pyodbc:///?odbc_connect=UID=me;PWD=***;A=b'),
        (
            f'mssql+pyodbc:///?odbc_connect=PWD%3D{ESCAPED}%3BA%3Db',
            'mssql+pyodbc:///?odbc_connect=PWD%3D***%3BA%3Db',
        ),
        (
            f'mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D{ESCAPED}',
            'mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3D***',
        ),
        (f'mssql+pyodbc:///?odbc_connect=UID=me;PWD={{a;{SECRET}}}', 'mssql+pyodbc:///?odbc_connect=UID=me;PWD=***'),
        (f'other://me@host/db?auth_token={SECRET}&a=b', 'other://me@host/db?auth_token=***&a=b'),
        (f'host=host user=me password={SECRET} dbname=db', 'host=host user=me password=*** dbname=db'),
        ('postgresql://me@host/db', 'postgresql://me@host/db'),
        ('sqlite:////tmp/a:b@c.db', 'sqlite:////tmp/a:b@c.db'),
        ('work/a:b@c.journal', 'work/a:b@c.journal'),
        ('runs/mysql/a:b@c.journal', 'runs/mysql/a:b@c.journal'),
        # no addresses for SQLAlchemy, but meant so
        (f'postgres//me:{SECRET}@host', 'postgres//me:***@host'),
        (f'postgresql:/me:{SECRET}@host', 'postgresql:/me:***@host'),
        (f'PostgreSQL+psycopg:me:{SECRET}@host/db', 'PostgreSQL+psycopg:me:***@host/db'),
        (f'mysql:///me:{SECRET}@host/db', 'mysql:///me:***@host/db'),
        (f'postgresql://me@host/db?p%61ssword={ESCAPED}&a=b', 'postgresql://me@host/db?p%61ssword=***&a=b'),
        (f'mssql://me@h/db?a=b&%50%57%44={ESCAPED}', 'mssql://me@h/db?a=b&%50%57%44=***'),
        (f'mssql+pyodbc:///?odbc_connect=PW%44%3D{ESCAPED}', 'mssql+pyodbc:///?odbc_connect=***'),
        (f'mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPW%44={ESCAPED}', 'mssql+pyodbc:///?odbc_connect=***'),
    ],
)
def test_addresses_are_masked(address: str, shown: str) -> None:
    assert masked(address) == shown
    assert masked(shown) == shown
    assert revealed(shown) == address
    for word in (SECRET, ESCAPED):
        if shown != address and word in address:
            assert word not in without_passwords(address)
            assert word not in without_passwords(f'no {word} in {address}')


@pytest.mark.parametrize('location', [f'postgresql:/me:{ESCAPED}@h', f'host=h user=me password={ESCAPED}'])
def test_what_is_meant_as_an_address_is_no_file(location: str) -> None:
    for use in (lambda: StudyStorage(location, PLAN), lambda: read_study(location, settings_from_data)):
        with pytest.raises(ValueError, match=r'storage: got .*\*\*\*.*, allowed: a path, or an address') as refused:
            use()
        assert 's3cr3t' not in str(refused.value)


def test_a_variable_gives_the_password_of_an_address_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, 'o/th er@')
    assert revealed('postgresql://you@host/db') == 'postgresql://you:o%2Fth er%40@host/db'
    for other in ('postgresql://host/db', 'sqlite:///a.db', 'postgresql://you@host/db?password=x', 'a.journal'):
        assert revealed(other) == other
    assert revealed(masked('postgresql://you:own@host2/db')) == 'postgresql://you:own@host2/db'
    assert 'o/th er@' not in without_passwords('so it is o/th er@ then')


@pytest.mark.parametrize(
    'location',
    [
        'sqlite://',
        'sqlite:///',
        'sqlite:///:memory:',
        'sqlite+pysqlite:///:memory:',
        'sqlite:///file:a?mode=memory&uri=1',
    ],
)
def test_databases_in_memory_are_refused(location: str) -> None:
    with pytest.raises(ValueError, match=r'storage: got .*, allowed: a file'):
        StudyStorage(location, PLAN)
    with pytest.raises(ValueError, match=r'storage: got .*, allowed: a file'):
        read_study(location, settings_from_data)


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_search(tmp_path_factory.mktemp('passwords'))


def written(folder: Path) -> str:
    """All that is in the files of a folder, and their names."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return '\n'.join(f'{path}\n{path.read_bytes().decode("latin1")}' for path in files)


@pytest.mark.parametrize('place', ['--storage', 'config', '--cfg-options'])
def test_no_password_in_files_logs_or_messages(
    demo: dict[str, str], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(connecting, 'FIRST_SECONDS', 0.0)
    url = f'postgresql://me:{ESCAPED}@127.0.0.1:1/db'
    config = tmp_path / 'search.py'
    text = f"_base_ = [{demo['config']!r}]\nvis_backends = [dict(type='LocalVisBackend')]\n"
    text += "visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)\n"
    if place == 'config':
        text += f'secret = {ESCAPED!r}\naddress = f"postgresql://me:{{secret}}@127.0.0.1:1/db"\n'
        text += 'search_cfg = dict(storage=address)\n'
    config.write_text(text)
    options = {'--storage': [place, url], '--cfg-options': [place, f'search_cfg.storage={url}'], 'config': []}[place]
    work = tmp_path / 'work'
    with pytest.raises(SystemExit) as ended:
        search_tool.main(
            [str(config), '--checkpoint', demo['checkpoint'], '--work-dir', str(work), '--shared', *options]
        )
    told = ''.join(capfd.readouterr()) + str(ended.value)
    assert 'postgresql://me:***@127.0.0.1:1/db' in told
    files = written(work)
    assert 'postgresql://me:***@127.0.0.1:1/db' in files
    assert (work / config.name).is_file()
    assert list(work.rglob('vis_data/config.py'))
    for found in (told, files):
        assert SECRET not in found
        assert ESCAPED not in found


def test_a_report_masks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(connecting, 'FIRST_SECONDS', 0.0)
    with pytest.raises(SystemExit):
        search_report.main([str(tmp_path), '--storage', f'postgresql://me:{ESCAPED}@127.0.0.1:1/db'])
    told = ''.join(capfd.readouterr())
    assert '***' in told
    assert 's3cr3t' not in told


def test_a_config_that_trains_hides_the_password_of_its_search(tmp_path: Path) -> None:
    config = tmp_path / 'config.py'
    config.write_text(f"word = {SECRET!r}\nstorage = 'mysql://me:{ESCAPED}@h/db'\nsearch_cfg = dict(storage=storage)\n")
    cfg: Config = load_config(str(config))
    assert 's3cr3t' not in cfg.pretty_text
    assert revealed(cfg.search_cfg.storage) == f'mysql://me:{ESCAPED}@h/db'


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that asks for a password."""
    found = PostgresServer()
    found.ask(f"alter role search password '{SECRET}'")
    rules = found.folder / 'data' / 'pg_hba.conf'
    rules.write_text('host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n')
    found._run('pg_ctl', 'reload', '-D', found.folder / 'data')
    yield found
    found.remove()


def test_ways_to_give_the_password(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, 'FIRST_SECONDS', 0.0)
    for name in (VARIABLE, 'PGPASSWORD', 'PGPASSFILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PGPASSFILE', str(tmp_path / 'none'))

    def run(url: str, name: str) -> Any:
        place = StudyStorage(url, PLAN, shared=True, study_name=name, retry_minutes=0)
        return Searcher(PLAN, estimate, Smooth(AUTOVIT), place, poll_seconds=0.01).run().history

    for password, word in (('', 'no password supplied'), (':wr0ng-one', 'authentication failed')):
        with pytest.raises(StorageError, match=word) as ended:
            run(server.url.replace('@', f'{password}@'), 'refused')
        assert 'wr0ng-one' not in str(ended.value)
    whole = run(server.url.replace('@', f':{ESCAPED}@'), 'in the address')
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, SECRET)
        assert run(server.url, 'in a variable') == whole
    passwords = tmp_path / 'pgpass'
    passwords.write_text(f'127.0.0.1:{server.port}:*:search:{SECRET}\n')
    os.chmod(passwords, 0o600)
    monkeypatch.setenv('PGPASSFILE', str(passwords))
    assert run(server.url, 'in a file') == whole


def test_a_password_may_have_a_space() -> None:
    """SQLAlchemy takes it."""
    address = 'postgresql://user:cor rect@host/db'
    assert addresses.masked(address) == 'postgresql://user:***@host/db'
    assert addresses.revealed('postgresql://user:***@host/db') == address
    assert addresses.without_passwords(f'no server at {address}') == 'no server at postgresql://user:***@host/db'
