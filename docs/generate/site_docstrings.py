"""An extension of griffe, which reads the docstrings for the site without importing what they are of."""

import ast
import re
from html import escape
from typing import Any

from griffe import Alias, Attribute, Extension, Module, NameResolutionError, Object

ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):`~?([\w.]+)`')


class Docstrings(Extension):
    """Makes each role, as Sphinx has them, a link to what it names; what is not on the site is its name in code."""

    def on_module(self, *, mod: Module, **others: Any) -> None:
        """Enter what a package imports when it is asked for (``_MODULES``)."""
        modules = mod.members.get('_MODULES')
        if isinstance(modules, Attribute):
            for home, names in ast.literal_eval(str(modules.value)).items():
                for name in names:
                    mod.set_member(name, Alias(name, f'{mod.path}.{home}.{name}'))

    def on_object(self, *, obj: Object, **others: Any) -> None:
        """Replace the roles of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda found: link(obj, found[1]), obj.docstring.value)


def link(where: Object, name: str) -> str:
    """What a role becomes in the docstring of ``where``."""
    first, _, rest = name.partition('.')
    try:
        path = '.'.join(filter(None, [where.resolve(first), rest]))
    except NameResolutionError:
        path = name
    return f'<autoref optional identifier="{escape(path)}"><code>{escape(name)}</code></autoref>'
