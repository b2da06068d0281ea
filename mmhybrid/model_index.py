"""mmhybrid's classifiers by name in MMPretrain: ``get_model('glnet-4g_in1k')``, ``list_models('glnet')``."""

import sys
from pathlib import Path
from types import ModuleType

from mmhybrid_autoload import Execute, around_import

HUB = 'mmpretrain.apis.model'
MIM = Path(__file__).parent / '.mim'  # configs, tools and the model index; links in a clone, copies in a wheel


def announce() -> None:
    """Have the classifiers registered when MMPretrain is imported, now if it is already; again is harmless.

    MMPretrain reads the model index of its own package only, and ``import mmhybrid`` shall not import it.
    """
    if HUB in sys.modules:
        register_classifiers(sys.modules[HUB])
    else:
        around_import(HUB, _register_behind)


def register_classifiers(hub: ModuleType) -> None:
    """Add the models of ``configs/*/metafile.yml`` to ``hub.ModelHub``; does nothing if they are there.

    Detectors and segmentors stand in ``metafile-dense.yml``, since MMPretrain cannot build them.
    """
    if hub.ModelHub.has('glnet-4g_in1k'):
        return
    for metafile in sorted(MIM.glob('configs/*/metafile.yml')):
        hub.ModelHub.register_model_index(metafile, config_prefix=MIM)


def _register_behind(hub: ModuleType, execute: Execute) -> None:
    execute(hub)
    register_classifiers(hub)
