"""The work of the commands as functions, which return values and raise errors; none of them ends the process.

Each function is imported on first access, since some need packages that others do not, such as those of a search.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    'configs': ('load_config',),
    'training': ('enable_amp', 'enable_auto_scale_lr', 'latest_checkpoint', 'train'),
    'testing': ('enable_tta', 'evaluate'),
    'weights': ('load_weights',),
    'searching': ('search',),
    'search_results': ('read_search',),
    'taking_out': ('build_supernet', 'found_in', 'take_out'),
    'narrowing': ('widths_of',),
    'network_files': ('write_network',),
    'host_configs': ('write_host_config',),
    'fronts': ('export_front',),
    'retraining': ('Retraining',),
    'export': ('export_model',),
    'end_to_end': ('export_end_to_end',),
    'preprocessing': ('Preprocessing',),
    'runtimes': ('open_network',),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Return a function of one of the modules."""
    if name in _HOMES:
        return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
