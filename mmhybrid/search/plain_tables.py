"""Checks that a database holds Optuna's tables with plain values and nothing that runs when they are used."""

import re
import sqlite3
import sys
import time
from collections.abc import Sequence
from typing import Any

from optuna.storages._rdb.models import BaseModel
from sqlalchemy import Enum

from mmhybrid.search.errors import StorageError, damaged
from mmhybrid.utils.errors import shortened
from mmhybrid.utils.files import LONGEST

# Optuna first asks this table for the version of its own tables.
ALEMBIC_TABLE = 'alembic_version'
TABLES = (*BaseModel.metadata.tables, ALEMBIC_TABLE)
_ENUMS = sorted(
    str(column.type.name)
    for table in BaseModel.metadata.tables.values()
    for column in table.columns
    if isinstance(column.type, Enum)
)
# Optuna and Alembic define tables and indices in SQLite in this way: columns of plain types, keys, and checks of
# constants. A lookahead group keeps the first match within the brackets, because otherwise all readings of a text would
# be tried.
_DEFINITION = re.compile(
    rb'create table "?(?P<table>\w+)"? ?\((?:(?=('
    rb'(?:primary key|unique|foreign key|references \w+) ?\([\w, "]+\)|'
    rb"check \(\w+(?: ?= ?\d+| in \([\w, ']+\))\)|"
    rb'(?!\bas\b)(?:\(\d+\)|\'\w*\'|[\w\s,"])))\2)+\)|'
    rb'create (?:unique )?index \w+ on "?\w+"? ?\([\w, "]+\)',
    re.IGNORECASE,
)
# SQLite keeps these tables for itself.
_OF_SQLITE = ('sqlite_sequence', 'sqlite_stat1', 'sqlite_stat4')
# Reading stops after this many seconds, because it may never end if pages refer to each other; a sound file of one
# gigabyte takes seconds.
SQLITE_SECONDS = 60.0
# This query lists objects that Optuna does not create and that PostgreSQL may run when it plans, reads or writes. It
# runs with pg_catalog alone in the search path. Objects of the server itself have numbers below 16384
# (https://www.postgresql.org/docs/current/system-catalog-initial-data.html). Only the first row is reported, so an
# object that explains others stands first. The parameters are the schema, the tables, the enumerations and the whole
# search path.
_STRANGE = """
with asked (schema, tables, enums, path) as (select cast(%s as text), cast(%s as text[]), cast(%s as text[]),
        cast(%s as text[])),
    here as (select n.oid from pg_namespace n, asked where nspname = schema),
    path as (select n.oid from pg_namespace n, asked where nspname = any (path) and nspname <> 'pg_catalog'),
    tables as (select c.* from pg_class c, asked where relname = any (tables) and relnamespace in (table here)),
    enums as (select t.* from pg_type t, asked where typname = any (enums) and typnamespace in (table here)),
    masters as (select oid from pg_roles where rolsuper),
    installed as (select classid, objid from pg_depend where deptype = 'e')
select case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
    when 'p' then 'partitioned table' else 'relation' end, cast(relname as text)
from tables where relkind <> 'r'
union all select 'rule', rulename from pg_rewrite where ev_class in (select oid from tables where relkind = 'r')
union all select 'policy', polname from pg_policy where polrelid in (select oid from tables)
union all select 'row security', relname from tables where relrowsecurity or relforcerowsecurity
union all select 'trigger', tgname from pg_trigger
where tgrelid in (select oid from tables) and (not tgisinternal or tgfoid >= 16384)
union all select 'inheriting table', cast(cast(inhrelid as regclass) as text) from pg_inherits
where inhparent in (select oid from tables) or inhrelid in (select oid from tables)
union all select 'table of another kind', relname from tables
where relkind = 'r' and (relpersistence <> 'p' or relispartition or reloftype <> 0 or relam <> 2)
union all select 'statistics', stxname from pg_statistic_ext where stxrelid in (select oid from tables)
union all select 'column', attname from pg_attribute
where attrelid in (select oid from tables where relkind = 'r') and attnum > 0 and not attisdropped and (
    attcollation >= 16384 or attgenerated <> '' or attidentity <> ''
    or atttypid <> all (cast('{int4,int8,varchar,text,float4,float8,timestamp}' as regtype[]))
    and atttypid not in (select oid from enums))
union all select 'type', typname from enums where typtype <> 'e'
union all select 'default', pg_get_expr(adbin, adrelid) from pg_attrdef d
where adrelid in (select oid from tables) and not (
    pg_get_expr(adbin, adrelid) ~ '^nextval[(]''[^'']*''::regclass[)]$' and exists (
        select from pg_depend join pg_class s on s.oid = refobjid and relkind = 'S'
        where classid = cast('pg_attrdef' as regclass) and objid = d.oid
        and refclassid = cast('pg_class' as regclass)))
union all select 'constraint', pg_get_constraintdef(c.oid) from pg_constraint c
where (conrelid in (select oid from tables) or confrelid in (select oid from tables)) and not case contype
    when 'f' then conrelid in (select oid from tables) and confrelid in (select oid from tables)
        and 16384 > all (cast(conpfeqop || conppeqop || conffeqop as oid[]))
    when 'c' then pg_get_constraintdef(c.oid) = 'CHECK ((version_info_id = 1))'
    else contype in ('p', 'u', 'n') end
union all select 'index', pg_get_indexdef(indexrelid) from pg_index join pg_class i on i.oid = indexrelid
where indrelid in (select oid from tables) and (relam <> 403 or indexprs is not null or indpred is not null
    or not 16384 > all (cast(indclass as oid[])) or not 16384 > all (cast(indcollation as oid[])))
union all select 'function', proname from pg_proc
where pronamespace in (table path) and not (proowner in (table masters)
    and (cast('pg_proc' as regclass), pg_proc.oid) in (table installed))
union all select 'operator', oprname from pg_operator
where oprnamespace in (table path) and not (oprowner in (table masters)
    and (cast('pg_operator' as regclass), pg_operator.oid) in (table installed))
union all select 'cast', format('%%s as %%s', format_type(castsource, null), format_type(casttarget, null))
from pg_cast where oid >= 16384 and not (
    (castfunc = 0 or castfunc in (select oid from pg_proc where proowner in (table masters)))
    and (cast('pg_cast' as regclass), pg_cast.oid) in (table installed))
"""
# This query lists roles that are not superusers but may add objects to the database, the schema, the tables or the
# types in use. It does so only if the user may run programs or read files on the server. It runs as above; the
# parameters are the schema, the tables and the enumerations.
_OTHERS = """
with asked (schema, tables, enums) as (select cast(%s as text), cast(%s as text[]), cast(%s as text[])),
    here as (select n.* from pg_namespace n, asked where nspname = schema),
    owned (kind, name, owner) as (
        select 'database', cast(datname as text), datdba from pg_database where datname = current_database()
        union all select 'schema', nspname, nspowner from here
        union all select 'table', relname, relowner from pg_class, asked
        where relname = any (tables) and relnamespace in (select oid from here)
        union all select 'type', typname, typowner from pg_type, asked
        where typname = any (enums) and typnamespace in (select oid from here)
        union all select 'schema', nspname, r.oid from here, pg_roles r
        where rolcanlogin and has_schema_privilege(r.oid, here.oid, 'create'))
select session_user, rolname, kind, name from owned join pg_roles r on r.oid = owner
where not rolsuper and rolname <> all (array[session_user, 'pg_database_owner']) and exists (
    select from pg_roles p where pg_has_role(session_user, p.oid, 'member') and p.rolname = any (
        '{pg_execute_server_program,pg_read_server_files,pg_write_server_files}'))
"""


def check_postgresql(location: str, connection: Any) -> None:
    """Raise StorageError for objects that PostgreSQL would run, and set the search path of a new connection.

    With this search path, names mean in the rest of the session what they meant in the check.

    Args:
        location: Address of the database, for messages.
        connection: New connection of the driver, which has run no query yet.
    """
    cursor = connection.cursor()
    # The name has its schema, because a database may hold an object of the same name that is taken for PostgreSQL's
    # own.
    cursor.execute('select pg_catalog.current_schemas(false)')
    path = [name for name in cursor.fetchone()[0] if name != 'pg_catalog']
    cursor.execute('set search_path to pg_catalog, pg_temp')
    schema = _schema_of_tables(cursor, path)
    if schema is not None:
        cursor.execute(_OTHERS, (schema, list(TABLES), _ENUMS))
        found = cursor.fetchone()
        if found is not None:
            user, other, kind, name = found
            raise StorageError(
                f"{location}: {user!r} has a superuser's rights on the server, and {other!r} could have them through "
                f'functions added to the {kind} {name!r}; connect as a role without such rights, or keep '
                'searches in a database to which only superusers can add'
            )
        cursor.execute(_STRANGE, (schema, list(TABLES), _ENUMS, path))
        found = cursor.fetchone()
        if found is not None:
            kind, name = found
            raise StorageError(
                f'{location}: holds the {kind} {shortened(name, LONGEST)!r}, which no search has made; a database of '
                'searches has tables of plain values, their keys, plain indices and sequences, and nothing else that '
                'PostgreSQL may run: keep searches in a database of their own'
            )
        quoted = schema.replace('"', '""')
        cursor.execute(f'set search_path to "{quoted}"')  # pg_catalog comes first unless it is named
    connection.commit()  # otherwise the setting ends with its transaction


def _schema_of_tables(cursor: Any, path: Sequence[str]) -> str | None:
    """Return the schema in which Optuna's tables are or would be created; None if the search path has no schema."""
    query = 'select nspname from pg_class c join pg_namespace n on n.oid = relnamespace where relname = any (%s)'
    cursor.execute(query, (list(TABLES),))
    holding = {name for (name,) in cursor.fetchall()}
    return next((name for name in path if name in holding), path[0] if path else None)


def check_sqlite(location: str, connection: sqlite3.Connection) -> None:
    """Raise StorageError for content that SQLite would run or read without end.

    A view may never end, and a trigger writes to the database. The settings of the connection follow
    https://www.sqlite.org/security.html.

    Args:
        location: Address of the database, for messages.
        connection: New connection, which has run no query yet.

    Raises:
        sqlite3.Error: If the file is locked or damaged.
    """
    ends = time.monotonic() + SQLITE_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > ends, 10_000)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.execute('pragma trusted_schema = off')
    connection.execute('pragma cell_size_check = on')
    try:
        _check_definitions(location, connection)
        (state,) = connection.execute('pragma quick_check(1)').fetchone()
    except sqlite3.OperationalError as error:
        if str(error) != 'interrupted':
            raise
        raise damaged(location, f'SQLite reads it for over {SQLITE_SECONDS:g} s') from error
    if state != 'ok':
        raise damaged(location, state.splitlines()[-1])
    connection.set_progress_handler(None, 0)


def _check_definitions(location: str, connection: sqlite3.Connection) -> None:
    connection.text_factory = bytes  # SQLite can read a definition that is not UTF-8, but Python cannot
    query = "select cast(ifnull(type, '') as text), cast(ifnull(name, '') as text), cast(sql as text) from "
    for kind, name, definition in connection.execute(f'{query} main.sqlite_master'):
        if definition is None:  # the index of a key
            continue
        match = _DEFINITION.fullmatch(definition)
        if match is None or (match['table'] or b'trials').decode() not in (*TABLES, *_OF_SQLITE):
            told = [shortened(part.decode(errors='replace'), LONGEST) for part in (kind, name)]
            raise StorageError(
                f'{location}: holds the {told[0]} {told[1]!r}, which no search has made; a database of searches has '
                "Optuna's tables and plain indices, and nothing else: keep searches in a database of their own"
            )
    connection.text_factory = str
