"""Addresses of databases whose passwords stay in the process: everything else gets to see them masked."""

import os
import re
from typing import Any
from urllib.parse import unquote

# The password of an address that has a user and none.
VARIABLE = 'MMHYBRID_STORAGE_PASSWORD'
MASK = '***'
# Up to the @ in front of the host, also where the password has one that is not escaped.
_BEHIND_USER = re.compile(r'(?<=://)([^/:@]*):([^@\s]*(?:@[^@/?\s]*)*)@')
# The same of an address alone, where a space is part of the password.
_IN_ADDRESS = re.compile(r'(?<=://)([^/:@]*):([^@]*(?:@[^@/?\s]*)*)@')
_SECRET = r'\w*(?:pass(?:word|wd)?|pwd|secret|token)'
_IN_QUERY = re.compile(rf'(?<=[?&])({_SECRET})(=)([^&\s]*)', re.IGNORECASE)
# In a driver's own string, in the query (``odbc_connect``) or instead of an address, escaped or not.
_IN_STRING = re.compile(
    rf"(?:(?<=[;\s])|(?<=%3B)|(?<=%20)|(?<=odbc_connect=)|^)({_SECRET})(=|%3D)(\{{[^}}]*\}}|'[^']*'|%7B.*?%7D|.*?(?=[;&\s]|%3B|%20|$))",
    re.IGNORECASE,
)
# Shorter ones are found in words.
_SHORTEST = 3
_whole: dict[str, str] = {}
_passwords: set[str] = set()


def masked(address: str) -> str:
    """An address as it may be shown, its password as ``***`` (as SQLAlchemy does); :func:`revealed` undoes it."""
    patterns = (_IN_ADDRESS, _IN_QUERY, _IN_STRING)
    found = [match[match.re.groups] for pattern in patterns for match in pattern.finditer(address)]
    shown = _without_secrets(_IN_ADDRESS.sub(rf'\1:{MASK}@', address))
    if shown != address:
        _whole[shown] = address
        _passwords.update({text for password in found for text in (password, unquote(password))} - {'', MASK})
    return shown


def revealed(address: str) -> str:
    """The address that was given, for the driver alone.

    One with a user and no password gets that of the variable :data:`VARIABLE`, if it is set; without, the driver looks
    where it always does (``PGPASSWORD``, ``~/.pgpass``).
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
    """A message, with all passwords that this process knows of masked."""
    shown = _without_secrets(_BEHIND_USER.sub(rf'\1:{MASK}@', text))
    for password in sorted(_passwords, key=len, reverse=True):
        if len(password) >= _SHORTEST:
            shown = shown.replace(password, MASK)
    return shown


def _without_secrets(text: str) -> str:
    for pattern in (_IN_QUERY, _IN_STRING):
        text = pattern.sub(rf'\1\2{MASK}', text)
    return text


def mask_settings(settings: Any) -> None:
    """Mask the passwords in nested dicts and lists, in addresses and where one stands alone."""
    for key, value in list(settings.items() if isinstance(settings, dict) else enumerate(settings)):
        if isinstance(value, dict | list):
            mask_settings(value)
        elif isinstance(value, str):
            if value in _passwords:
                settings[key] = MASK
            elif any(password in value for password in _passwords):
                settings[key] = masked(value)
