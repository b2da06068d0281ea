"""mmhybrid's classifiers by name in MMPretrain: ``get_model('glnet-4g_in1k')``, ``list_models('glnet')``."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

HUB = 'mmpretrain.apis.model'
MIM = Path(__file__).parent / '.mim'  # where an installation puts the configs and the model index


def announce() -> None:
    """Have the classifiers registered when MMPretrain is imported, now if it is already; again is harmless.

    MMPretrain reads the model index of its own package only, and ``import mmhybrid`` shall not import it.
    """
    if HUB in sys.modules:
        register_classifiers(sys.modules[HUB])
    elif not any(isinstance(finder, _HubFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HubFinder())


def register_classifiers(hub: ModuleType) -> None:
    """Add the models of ``configs/*/metafile.yml`` to ``hub.ModelHub``; does nothing if they are there.

    Detectors and segmentors stand in ``metafile-dense.yml``, since MMPretrain cannot build them.
    """
    if hub.ModelHub.has('glnet-4g_in1k'):
        return
    for metafile in sorted(MIM.glob('configs/*/metafile.yml')):
        hub.ModelHub.register_model_index(metafile, config_prefix=MIM)


class _HubFinder(MetaPathFinder):
    """Finds :data:`HUB` as Python would, and has the classifiers registered behind its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of :data:`HUB`; None for any other module, which is left to the other finders."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == HUB else None
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register_classifiers(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
