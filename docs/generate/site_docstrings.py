"""An extension of griffe, which reads docstrings for the site without importing their modules."""

import ast
import re
from html import escape
from typing import Any

from griffe import Alias, Attribute, Extension, Module, NameResolutionError, Object

ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):`~?([\w.]+)`')


class Docstrings(Extension):
    """Replaces each Sphinx role by a link to what it names, or by the name as code where the site does not have it."""

    def on_module(self, *, mod: Module, **others: Any) -> None:
        """Enter the names that a package imports lazily (``_MODULES``)."""
        modules = mod.members.get('_MODULES')
        if isinstance(modules, Attribute):
            for home, names in ast.literal_eval(str(modules.value)).items():
                for name in names:
                    mod.set_member(name, Alias(name, f'{mod.path}.{home}.{name}'))

    def on_object(self, *, obj: Object, **others: Any) -> None:
        """Replace the roles in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda found: link(obj, found[1]), obj.docstring.value)


def link(where: Object, name: str) -> str:
    """The link that replaces a role in the docstring of ``where``."""
    first, _, rest = name.partition('.')
    try:
        path = '.'.join(filter(None, [where.resolve(first), rest]))
    except NameResolutionError:
        path = name
    return f'<autoref optional identifier="{escape(path)}"><code>{escape(name)}</code></autoref>'
