"""Addresses of databases, whose passwords stay in the process: all that leaves it shows them masked."""

import os
import re
from typing import Any
from urllib.parse import unquote, unquote_plus

from mmhybrid.utils.errors import LONGEST_MESSAGE, shortened

# This environment variable holds the password for an address that names a user but no password.
VARIABLE = 'MMHYBRID_STORAGE_PASSWORD'
MASK = '***'
# The match ends at the @ in front of the host, even if the password contains one that is not escaped.
_BEHIND_USER = re.compile(r'(?<=://)([^/:@]*):([^@\s]*(?:@[^@/?\s]*)*)@')
# The same for an address alone, where a space is part of the password.
_IN_ADDRESS = re.compile(r'(?<=://)([^/:@]*):([^@]*(?:@[^@/?\s]*)*)@')
# These patterns match texts that are meant as addresses but have a wrong number of slashes, for which SQLAlchemy has
# another meaning.
_DATABASE = r'(?:postgres\w*|mysql|mariadb|mssql|oracle|cockroachdb|redshift|snowflake|mongodb|rediss?)(?:\+\w+)?'
_SLIPPED_USER = rf'(?<![\w/.])({_DATABASE}(?::/?|:/{{3,}}|/{{2,}})[^/:@\s]*)'
_SLIPPED = re.compile(rf'{_SLIPPED_USER}:([^@\s]*(?:@[^@/?\s]*)*)@', re.IGNORECASE)
_SLIPPED_ADDRESS = re.compile(rf'{_SLIPPED_USER}:([^@]*(?:@[^@/?\s]*)*)@', re.IGNORECASE)
_SECRET = r'\w*(?:pass(?:word|wd)?|pwd|secret|token)'
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_IN_QUERY = re.compile(r'(?<=[?&])([^=?&\s]+)=([^&\s]*)')
# A secret may stand in a driver's own string, in the query (``odbc_connect``) or in place of an address, escaped or
# not.
_IN_STRING = re.compile(
    rf"(?:(?<=[;\s])|(?<=%3B)|(?<=%20)|(?<=odbc_connect=)|^)({_SECRET})(=|%3D)(\{{[^}}]*\}}|'[^']*'|%7B.*?%7D|.*?(?=[;&\s]|%3B|%20|$))",
    re.IGNORECASE,
)
# The search takes time that grows with the square of the text, so it covers this many characters; a shorter limit might
# leave half a password.
LONGEST = 4 * LONGEST_MESSAGE
# Passwords shorter than this are not searched for, because words contain them.
_SHORTEST = 3
_whole: dict[str, str] = {}
_passwords: set[str] = set()


def masked(address: str) -> str:
    """Return an address with ``***`` for its password, as SQLAlchemy shows it; :func:`revealed` undoes it."""
    passwords: list[str] = []
    shown = address
    for pattern in (_IN_ADDRESS, _SLIPPED_ADDRESS):
        passwords += [match[2] for match in pattern.finditer(shown)]
        shown = pattern.sub(rf'\1:{MASK}@', shown)
    shown = _without_secrets(shown, passwords)
    if shown != address:
        _whole[shown] = address
        _passwords.update({text for password in passwords for text in (password, unquote(password))} - {'', MASK})
    return shown


def revealed(address: str) -> str:
    """Return the address that was given, for the driver alone.

    An address with a user and no password gets the password of the environment variable :data:`VARIABLE`, if it is set.
    Otherwise the driver looks in its usual places (``PGPASSWORD``, ``~/.pgpass``).
    """
    whole = _whole.get(address, address)
    password = os.environ.get(VARIABLE)
    if not password or '://' not in whole:
        return whole
    from sqlalchemy.engine import make_url

    url = make_url(whole)
    if url.username is None or url.password is not None or 'password' in url.query:
        return whole
    _passwords.add(password)
    return url.set(password=password).render_as_string(hide_password=False)


def without_passwords(text: str) -> str:
    """Return a message in which all passwords that this process knows are masked."""
    shown = shortened(text, LONGEST)
    for pattern in (_BEHIND_USER, _SLIPPED):
        shown = pattern.sub(rf'\1:{MASK}@', shown)
    shown = _without_secrets(shown, [])
    for password in sorted(_passwords, key=len, reverse=True):
        if len(password) >= _SHORTEST:
            shown = shown.replace(password, MASK)
    return shown


def _without_secrets(text: str, passwords: list[str]) -> str:
    """Return the text with masked secrets, and add these to ``passwords``.

    A secret is the value behind a name such as ``password`` or ``token``, which may be escaped.
    """

    def mask_setting(match: re.Match[str]) -> str:
        name, value = match.groups()
        if not _SECRET_NAME.fullmatch(unquote_plus(name)):
            whole = mask_string(match[0])
            # The value may be a driver's string in which a name is escaped letter by letter.
            hides = any(found[3] != MASK for found in _IN_STRING.finditer(unquote_plus(whole.partition('=')[2])))
            if not hides:
                return whole
        passwords.append(value)
        return f'{name}={MASK}'

    def mask_string(part: str) -> str:
        passwords.extend(found[3] for found in _IN_STRING.finditer(part))
        return _IN_STRING.sub(rf'\1\2{MASK}', part)

    return mask_string(_IN_QUERY.sub(mask_setting, text))


def mask_settings(settings: Any) -> None:
    """Mask the passwords in nested dicts and lists, both within addresses and where a password stands alone."""
    for key, value in list(settings.items() if isinstance(settings, dict) else enumerate(settings)):
        if isinstance(value, dict | list):
            mask_settings(value)
        elif isinstance(value, str):
            if value in _passwords:
                settings[key] = MASK
            elif any(password in value for password in _passwords):
                settings[key] = masked(value)
