"""Child registries of MMEngine's roots, and the roots of what only mmhybrid has.

A component is named ``mmhybrid.<Name>`` from any host (``mmpretrain``, ``mmdet``, ``mmseg``); the host stays the
``default_scope`` of a config. The modules under ``locations`` are imported when a name is first looked up.
"""

from collections.abc import Mapping
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry


def _child(name: str, parent: Registry, location: str) -> Registry:
    return Registry(name, parent=parent, scope='mmhybrid', locations=[location])


MODELS = _child('model', mmengine_registry.MODELS, 'mmhybrid.models')
DATASETS = _child('dataset', mmengine_registry.DATASETS, 'mmhybrid.datasets')
DATA_SAMPLERS = _child('data sampler', mmengine_registry.DATA_SAMPLERS, 'mmhybrid.engine')
TRANSFORMS = _child('transform', mmengine_registry.TRANSFORMS, 'mmhybrid.datasets')
HOOKS = _child('hook', mmengine_registry.HOOKS, 'mmhybrid.engine')
LOOPS = _child('loop', mmengine_registry.LOOPS, 'mmhybrid.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, 'mmhybrid.engine'
)
TASK_UTILS = _child('task util', mmengine_registry.TASK_UTILS, 'mmhybrid.engine')


class OwnRegistry(Registry):
    """A root that the hosts lack: it is searched whatever a config's ``default_scope`` is."""

    def build(self, cfg: Any) -> Any:
        """Build what a config describes."""
        return super().build({'_scope_': 'mmhybrid', **cfg} if isinstance(cfg, Mapping) else cfg)


SEARCH_SPACES = OwnRegistry('search space', scope='mmhybrid', locations=['mmhybrid.space.registered'])
MUTATORS = OwnRegistry('mutator', scope='mmhybrid', locations=['mmhybrid.models'])
SAMPLERS = OwnRegistry('search sampler', scope='mmhybrid', locations=['mmhybrid.search.registered'])
