"""Child registries of MMEngine's roots, and the roots of what only mmhybrid has.

A component is named ``mmhybrid.<Name>`` from any host (``mmpretrain``, ``mmdet``, ``mmseg``); the host stays the
``default_scope`` of a config. The modules under ``locations`` are imported when a name is first looked up, those of the
search only when it is one of theirs: a network that a search found runs without them.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry


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
        self._of_search = dict(of_search or {})

    def get(self, key: str) -> Any:
        """The component of that name; None if there is none."""
        module = self._of_search.get(key.removeprefix('mmhybrid.'))
        if module is not None:
            import_module(module)
        return super().get(key)


MODELS = ChildRegistry(
    'model',
    mmengine_registry.MODELS,
    'mmhybrid.models',
    {'OneShot': 'mmhybrid.models.one_shot', 'Supernet': 'mmhybrid.models.supernets'},
)
DATA_SAMPLERS = ChildRegistry('data sampler', mmengine_registry.DATA_SAMPLERS, 'mmhybrid.engine')
TRANSFORMS = ChildRegistry('transform', mmengine_registry.TRANSFORMS, 'mmhybrid.datasets')
HOOKS = ChildRegistry('hook', mmengine_registry.HOOKS, 'mmhybrid.engine')
LOOPS = ChildRegistry(
    'loop',
    mmengine_registry.LOOPS,
    'mmhybrid.engine',
    {'SearchLoop': 'mmhybrid.engine.search_loop', 'SubnetValLoop': 'mmhybrid.engine.subnet_val'},
)
OPTIM_WRAPPER_CONSTRUCTORS = ChildRegistry(
    'optimizer wrapper constructor', mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, 'mmhybrid.engine'
)


class OwnRegistry(Registry):
    """A root that the hosts lack: it is searched whatever a config's ``default_scope`` is."""

    def build(self, cfg: Any) -> Any:
        """Build what a config describes."""
        return super().build({'_scope_': 'mmhybrid', **cfg} if isinstance(cfg, Mapping) else cfg)


SEARCH_SPACES = OwnRegistry('search space', scope='mmhybrid', locations=['mmhybrid.space.registered'])
MUTATORS = OwnRegistry('mutator', scope='mmhybrid', locations=['mmhybrid.models.mutators'])
SAMPLERS = OwnRegistry('search sampler', scope='mmhybrid', locations=['mmhybrid.search.registered'])
