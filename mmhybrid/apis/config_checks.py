"""Checks of the types of those config values that every training, test and search reads."""

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from mmhybrid.utils.checks import bad_value, check_int

DICTS = (
    'data_preprocessor',
    'default_hooks',
    'env_cfg',
    'log_processor',
    'model',
    'optim_wrapper',
    'randomness',
    'search_cfg',
    'strategy',
    'test_cfg',
    'test_dataloader',
    'train_cfg',
    'train_dataloader',
    'tta_model',
    'val_cfg',
    'val_dataloader',
    'visualizer',
)
LISTS = ('custom_hooks', 'tta_pipeline')
EITHER = ('param_scheduler', 'test_evaluator', 'val_evaluator')
NAMES = ('default_scope', 'experiment_name', 'load_from', 'work_dir')
# The sections that must not be None. MMEngine itself accepts None for the others.
NEEDED = ('env_cfg', 'model', 'randomness', 'work_dir')


def check_config(file: str, cfg: Mapping[str, Any]) -> None:
    """Raise ValueError for a value whose type its place in a config does not accept.

    Args:
        file: Name of the config in the message.
        cfg: Content of the config.
    """
    for names, is_right, allowed in (
        (DICTS, _is_dict, 'a dict'),
        (LISTS, _is_list_of_dicts, 'a list of dicts'),
        (EITHER, lambda value: _is_dict(value) or _is_list_of_dicts(value), 'a dict or a list of dicts'),
        (NAMES, lambda value: isinstance(value, str), 'a string'),
    ):
        for name in names:
            if name in cfg and not (is_right(cfg[name]) or (cfg[name] is None and name not in NEEDED)):
                raise bad_value(f'{file}: {name}', cfg[name], allowed)
    for name, value in cfg.items():
        if name in DICTS + LISTS + EITHER:
            _check_inside(f'{file}: {name}', value)


def _check_inside(place: str, value: Any) -> None:
    """Check the settings that many components share, at any depth."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_inside(f'{place}[{index}]', item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            here = f'{place}.{name}'
            if name in INSIDE:
                is_right, allowed = INSIDE[name]
                if not is_right(item):
                    raise bad_value(here, item, allowed)
            _check_inside(here, item)
        if place.endswith('_dataloader'):
            for name, low in (('num_workers', 0), ('batch_size', 1)):
                if name in value:
                    check_int(f'{place}.{name}', value[name], low)


def _is_dict(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list_of_dicts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _are_numbers(value: object) -> bool:
    return value is None or _is_number(value) or (isinstance(value, list | tuple) and all(map(_is_number, value)))


def _are_counts(value: object) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return value is None or (bool(items) and all(type(item) is int and item >= 1 for item in items))


INSIDE: dict[str, tuple[Callable[[Any], bool], str]] = {
    'type': (lambda value: callable(value) or (isinstance(value, str) and value != ''), 'the name of a component'),
    'lr': (lambda value: value is None or _is_number(value), 'a number'),
    'mean': (_are_numbers, 'a list of numbers, one a channel'),
    'std': (_are_numbers, 'a list of numbers, one a channel'),
    'topk': (_are_counts, 'an int >= 1 or a list of them'),
}
