"""A PostgreSQL server on loopback, for tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is; Debian keeps them out of PATH."""
    folders = [os.environ.get('PATH', ''), *map(str, sorted(Path('/usr/lib/postgresql').glob('*/bin'), reverse=True))]
    return shutil.which(name, path=os.pathsep.join(folders))


class PostgresServer:
    """One with a data folder of its own, which ends with :meth:`remove`.

    PostgreSQL refuses to run as root; then it runs as the user ``postgres`` or ``nobody``.
    """

    def __init__(self) -> None:
        if program('initdb') is None:
            pytest.skip('PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql')
        pytest.importorskip('psycopg')
        self._as: dict = {}
        self.folder = Path(tempfile.mkdtemp(prefix='postgres-'))
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = pwd.getpwnam('postgres' if 'postgres' in names else 'nobody')
            self._as = {'user': user.pw_uid, 'group': user.pw_gid, 'extra_groups': []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        self.url = f'postgresql://search@127.0.0.1:{self.port}/postgres'
        self._data = self.folder / 'data'
        self._run('initdb', '-D', self._data, '-U', 'search', '-A', 'trust', '-E', 'UTF8', '--no-sync')
        self.start()

    def _run(self, name: str, *arguments: object) -> str:
        found = program(name)
        assert found is not None
        # to a file: the server keeps what it inherits
        with open(self.folder / f'{name}.out', 'w+') as out:
            ended = subprocess.run(
                [found, *map(str, arguments)], cwd=self.folder, stdout=out, stderr=out, timeout=120, **self._as
            )
            out.seek(0)
            text = out.read()
        assert ended.returncode == 0, text
        return text

    def start(self) -> None:
        options = f'-h 127.0.0.1 -p {self.port} -k {self.folder} -F'
        self._run('pg_ctl', 'start', '-w', '-D', self._data, '-l', self.folder / 'log', '-o', options)

    def stop(self, mode: str) -> None:
        """``fast`` ends all connections, ``immediate`` is a crash."""
        self._run('pg_ctl', 'stop', '-w', '-D', self._data, '-m', mode)

    def ask(self, query: str) -> str:
        return self._run('psql', self.url, '-X', '-q', '-A', '-t', '-c', query).strip()

    def drop_a_connection(self) -> bool:
        """End one connection of somebody else; whether there was one."""
        others = "datname = 'postgres' and pid <> pg_backend_pid()"
        query = f'select pg_terminate_backend(pid) from pg_stat_activity where {others} order by random() limit 1'
        return self.ask(query) == 't'

    def num_recorded(self) -> int:
        """How many candidates are recorded, by all searches."""
        if self.ask("select count(*) from pg_tables where tablename = 'trial_user_attributes'") == '0':
            return 0
        return int(self.ask("select count(*) from trial_user_attributes where key = 'candidate'"))

    def forget(self) -> None:
        """Remove what tests have made: the database ``other``, the role ``plain``, all in ``postgres``."""
        statements = (
            'drop database if exists other with (force)',
            'drop database postgres with (force)',
            'drop role if exists plain',
            'create database postgres template template0',
        )
        commands = [word for statement in statements for word in ('-c', statement)]
        self._run('psql', self.url.replace('/postgres', '/template1'), '-X', '-q', '-v', 'ON_ERROR_STOP=1', *commands)

    def remove(self) -> None:
        self.stop('immediate')
        shutil.rmtree(self.folder)
