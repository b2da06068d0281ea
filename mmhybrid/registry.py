"""Child registries of MMEngine's roots, and the roots of what only mmhybrid has.

A component is named ``mmhybrid.<Name>`` in configs of ``mmpretrain``, ``mmdet`` and ``mmseg``, whose ``default_scope``
stays. The modules under ``locations`` are imported when a name is first looked up, those of the
search only when it is one of theirs: a network that a search found runs without them.

MMEngine imports whatever dotted name it is asked for. That is for configs, which are programs; what comes from data (an
arch file, a table, a storage, the metadata of a checkpoint) is built by :func:`build_from_data` alone.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

from mmhybrid.utils.checks import bad_value, check_keys

SCOPE = 'mmhybrid.'
# Arguments that a config may give and no data: a space's that may name a file to read, or a network of any size.
OF_CONFIGS = {'around', 'distribution'}


class ChildRegistry(Registry):
    """A registry below one of MMEngine's.

    Args:
        name: What it holds.
        parent: MMEngine's.
        location: The module that registers what it holds.
        of_search: Names in modules of their own, imported when they are asked for.
    """

    def __init__(self, name: str, parent: Registry, location: str, of_search: Mapping[str, str] | None = None) -> None:
        super().__init__(name, parent=parent, scope='mmhybrid', locations=[location])
        self.of_search = dict(of_search or {})

    def get(self, key: str) -> Any:
        """The component of that name; None if there is none."""
        self.import_of_search(key)
        return super().get(key)

    def import_of_search(self, key: str) -> None:
        """Import the module of a component of the search; any other name does nothing."""
        module = self.of_search.get(key.removeprefix(SCOPE))
        if module is not None:
            import_module(module)


MODELS = ChildRegistry(
    'model',
    mmengine_registry.MODELS,
    'mmhybrid.models',
    {
        'FeatureDistiller': 'mmhybrid.models.feature_distillation',
        'OneShot': 'mmhybrid.models.one_shot',
        'Supernet': 'mmhybrid.models.supernets',
        'TaughtClassifier': 'mmhybrid.models.taught_classifier',
    },
)
DATA_SAMPLERS = ChildRegistry('data sampler', mmengine_registry.DATA_SAMPLERS, 'mmhybrid.engine')
# MMPretrain is imported with it
DATASETS = ChildRegistry(
    'dataset',
    mmengine_registry.DATASETS,
    'mmhybrid.datasets.imagenet_folders',
    {'FixedViews': 'mmhybrid.engine.fixed_views'},
)
TRANSFORMS = ChildRegistry('transform', mmengine_registry.TRANSFORMS, 'mmhybrid.datasets')
HOOKS = ChildRegistry('hook', mmengine_registry.HOOKS, 'mmhybrid.engine')
LOOPS = ChildRegistry(
    'loop',
    mmengine_registry.LOOPS,
    'mmhybrid.engine',
    {'SearchLoop': 'mmhybrid.engine.search_loop', 'SubnetValLoop': 'mmhybrid.engine.subnet_val'},
)
OPTIM_WRAPPERS = ChildRegistry('optimizer wrapper', mmengine_registry.OPTIM_WRAPPERS, 'mmhybrid.engine')
OPTIM_WRAPPER_CONSTRUCTORS = ChildRegistry(
    'optimizer wrapper constructor', mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, 'mmhybrid.engine'
)


class OwnRegistry(Registry):
    """A root that OpenMMLab lacks: it is searched whatever a config's ``default_scope`` is."""

    def build(self, cfg: Any) -> Any:
        """Build what a config describes."""
        return super().build({'_scope_': 'mmhybrid', **cfg} if isinstance(cfg, Mapping) else cfg)


SEARCH_SPACES = OwnRegistry('search space', scope='mmhybrid', locations=['mmhybrid.space'])
MUTATORS = OwnRegistry('mutator', scope='mmhybrid', locations=['mmhybrid.models.mutators'])
SAMPLERS = OwnRegistry('search sampler', scope='mmhybrid', locations=['mmhybrid.search.samplers'])


def build_from_data(registry: Registry, field: str, config: object) -> Any:
    """Build what data describe, from the classes that are registered at this moment; nothing is imported by its name.

    Args:
        registry: One of ours.
        field: Where ``config`` is from, for messages.
        config: ``type``, the name of a class that ``registry`` holds, and its arguments. Dicts with a ``type`` among
            the arguments of a model (``norm_cfg``) have to name what ``registry`` holds, or MMEngine's above it.

    Returns:
        What the class makes of the arguments.

    Raises:
        ValueError: If a type is not such a name, or an argument is unknown or missing.
    """
    arguments = check_data(registry, field, config)
    for name in sorted(OF_CONFIGS & arguments.keys()):
        raise ValueError(f'{field}: surplus {name}; what it says stands in the values of a space that data describe')
    found = registered_class(registry, arguments.pop('type'))
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        raise ValueError(f'{field}: {error}') from error
    return found(**arguments)


def check_data(registry: Registry, field: str, config: object) -> dict[str, Any]:
    """A config from data as one that :meth:`Registry.build` takes without importing what it names.

    Arguments are those of :func:`build_from_data`.

    Raises:
        ValueError: If a type is not a name of a registered class.
    """
    check_keys(field, config, ('type',), tuple(config) if isinstance(config, Mapping) else ())
    assert isinstance(config, Mapping)
    name = config['type']
    if registered_class(registry, name) is None:
        raise bad_value(f'{field}.type', name, f'one of {sorted(registry.module_dict)}, which are registered')
    arguments = {name: value for name, value in config.items() if name != 'type'}
    if registry.parent is not None:
        _check_parts(registry, field, arguments)
    return {'type': SCOPE + name.removeprefix(SCOPE), **arguments}


def registered_class(registry: Registry, name: object) -> Any:
    """The class that a registry holds under a name, with or without ``mmhybrid.`` in front; None if there is none."""
    if not isinstance(name, str):
        return None
    registry.import_from_location()
    if isinstance(registry, ChildRegistry):
        registry.import_of_search(name)
    return registry.module_dict.get(name.removeprefix(SCOPE))


def _check_parts(registry: Registry, field: str, value: object) -> None:
    """Raise ValueError for a ``type`` within ``value`` by which a component would be imported, or a file be loaded."""
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _check_parts(registry, f'{field}[{place}]', item)
    if not isinstance(value, Mapping):
        return
    if '_scope_' in value:
        raise bad_value(f'{field}._scope_', value['_scope_'], 'no scope')
    if 'type' in value and not _is_part(registry, value['type']):
        raise bad_value(f'{field}.type', value['type'], "a component that mmhybrid's or MMEngine's registry holds")
    for name, item in value.items():
        if name == 'init_cfg':
            _check_parts(_INITIALIZERS, f'{field}.init_cfg', item)
        else:
            _check_parts(registry, f'{field}.{name}', item)


def _is_part(registry: Registry, name: object) -> bool:
    """Whether a name means, in every scope, a class that is registered: ours with ``mmhybrid.``, MMEngine's without."""
    if not isinstance(name, str) or name == _FROM_A_FILE:
        return False
    if name == _OWN_NORM:
        return True
    if name.startswith(SCOPE):
        return registry.scope == 'mmhybrid' and registered_class(registry, name) is not None
    root = registry if registry.parent is None else registry.parent
    root.import_from_location()
    return name in root.module_dict


_INITIALIZERS = mmengine_registry.WEIGHT_INITIALIZERS
_OWN_NORM = 'LN2d'  # which ``layers/basic.py`` builds without a registry
_FROM_A_FILE = 'Pretrained'  # the initializer that reads a file or an address, which data must not choose
