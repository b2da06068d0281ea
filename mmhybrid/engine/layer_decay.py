"""Layer-wise learning-rate decay for any model of MMPretrain, MMDetection or MMSegmentation."""

from collections.abc import Callable
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmhybrid.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmhybrid.utils.checks import bad_value, check_float, check_keys

# the settings that DefaultOptimWrapperConstructor reads
_DEFAULT_SETTINGS = (
    'bias_decay_mult',
    'bias_lr_mult',
    'bypass_duplicate',
    'custom_keys',
    'dcn_offset_lr_mult',
    'dwconv_decay_mult',
    'flat_decay_mult',
    'norm_decay_mult',
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer wrapper constructor with learning rates that shrink by a factor per layer, from the head to the stem.

    A parameter at depth d of L layers has ``layer_decay_rate ** (L - 1 - d)`` times the learning rate that MMEngine's
    default constructor gives it. Heads, necks and output norms are at depth L - 1 (BEiT, Bao et al., ICLR 2022). The
    depth comes from ``get_layer_depth`` of the backbone, wherever in the model the backbone is; it may be that of a
    supernet. Parameters with the same settings share a group.

    Args:
        optim_wrapper_cfg: As for MMEngine's constructor; the optimizer needs ``lr``.
        paramwise_cfg: ``layer_decay_rate`` in (0, 1], and everything that MMEngine's constructor takes.

    Raises:
        ValueError: If a setting is unknown or missing, the rate is out of range, or there is no learning rate; when
            called, if the model has no backbone with layer depths.
    """

    base_lr: float

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        check_keys('paramwise_cfg', self.paramwise_cfg, ('layer_decay_rate',), _DEFAULT_SETTINGS)
        check_float('paramwise_cfg.layer_decay_rate', self.paramwise_cfg['layer_decay_rate'], 0, 1, above=True)
        check_float('optimizer.lr', self.base_lr, 0)

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = '', is_dcn_module: bool | None = None
    ) -> None:
        """Add the trainable parameters to ``params``, each once; MMEngine calls this for each module."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        multiplier = self._multipliers(module)
        names = {parameter: name for name, parameter in module.named_parameters()}
        scaled = []
        for group in params:
            name = names.pop(group['params'][0], None)
            if name is not None:  # otherwise the layer occurs twice in the model
                scaled.append({**group, 'lr': group.get('lr', self.base_lr) * multiplier(name)})
        params[:] = _merged(scaled)

    def _multipliers(self, model: nn.Module) -> Callable[[str], float]:
        """Return a function from the name of a parameter to the factor on its learning rate."""
        rate = self.paramwise_cfg['layer_decay_rate']
        path, backbone = _find_backbone(model)

        def multiplier(name: str) -> float:
            depth, num_layers = backbone.get_layer_depth(name, f'{path}.')
            return rate ** (num_layers - 1 - depth)

        return multiplier


def _find_backbone(model: nn.Module) -> tuple[str, Any]:
    """Return path and module of the backbone."""
    for path, module in model.named_modules():
        if path.split('.')[-1] == 'backbone' and hasattr(module, 'get_layer_depth'):
            return path, module
    raise bad_value('model', type(model).__name__, 'a model with a backbone that has get_layer_depth, for layer decay')


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge groups with the same settings, so that the optimizer updates their parameters together."""
    merged: list[tuple[dict[str, Any], list[nn.Parameter]]] = []
    for group in groups:
        settings = {key: value for key, value in group.items() if key != 'params'}
        parameters = next((others for known, others in merged if known == settings), None)
        if parameters is None:
            parameters = []
            merged.append((settings, parameters))
        parameters += group['params']
    return [{'params': parameters, **settings} for settings, parameters in merged]
