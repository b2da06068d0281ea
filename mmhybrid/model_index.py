"""mmhybrid's classifiers by name in MMPretrain: ``get_model('glnet-4g_in1k')``, ``list_models('glnet')``."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config

from mmhybrid_autoload import Execute, around_import

HUB = 'mmpretrain.apis.model'
MIM = Path(__file__).parent / '.mim'  # configs, tools and the model index; links in a clone, copies in a wheel


WHERE_WEIGHTS_ARE = (
    'mmhybrid publishes none; pretrained takes a file: of a training of yours, or one that the authors of GLNet, GLiT '
    'or EfficientNet-Lite released, converted by `mmhybrid convert-checkpoint` (docs/use_it.md)'
)


def announce() -> None:
    """Have the classifiers registered when MMPretrain is imported, now if it is already; again is harmless.

    MMPretrain reads the model index of its own package only, and ``import mmhybrid`` shall not import it.
    """
    if HUB in sys.modules:
        _complete(sys.modules[HUB])
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
    _complete(hub)


def _complete(hub: ModuleType) -> None:
    register_classifiers(hub)
    theirs = hub.get_model
    if hasattr(theirs, '__wrapped__'):
        return
    ours = checked(theirs, hub)
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'mmpretrain' and vars(module).get('get_model') is theirs:
            module.get_model = ours  # type: ignore[attr-defined]


def checked(get_model: Callable[..., Any], hub: ModuleType) -> Callable[..., Any]:
    """MMPretrain's ``get_model``, which raises where weights of an mmhybrid model are asked for and not loaded.

    Cause: MMPretrain warns of ``pretrained=True`` without published weights, and logs what a file does not fit. Either
    way the model is random, and predicts. The inferencers of MMPretrain load models through it too.
    Models of other backbones are left as they are.
    """

    @wraps(get_model)
    def get(model: Any, pretrained: Any = False, *arguments: Any, **options: Any) -> Any:
        if pretrained is True and (name := _unpublished(model, hub)) is not None:
            raise ValueError(f'pretrained=True: there are no weights of {name}, {WHERE_WEIGHTS_ARE}')
        built = get_model(model, pretrained, *arguments, **options)
        if isinstance(pretrained, str) and type(getattr(built, 'backbone', None)).__module__.startswith('mmhybrid.'):
            from mmhybrid.models.checkpoint_fit import check_fit
            from mmhybrid.models.checkpoints import read_checkpoint, weights_of

            check_fit(built, weights_of(read_checkpoint(pretrained)), f'pretrained: {pretrained}')
        return built

    return get


def _unpublished(model: Any, hub: ModuleType) -> str | None:
    """What to call a model of mmhybrid for which neither the model index nor its config names weights."""
    if isinstance(model, Config):
        name, config, weights = str(model.filename), model, model.get('load_from')
    elif Path(model).suffix == '.py':
        config = Config.fromfile(model)
        name, weights = str(model), config.get('load_from')
    else:
        known = hub.ModelHub.get(model)
        name, config, weights = model, known.config, known.weights
    backbone = config.model.get('backbone') or {}
    kind = backbone.get('type')
    is_ours = str(kind).startswith('mmhybrid.') or str(getattr(kind, '__module__', '')).startswith('mmhybrid.')
    return name if is_ours and not weights else None
