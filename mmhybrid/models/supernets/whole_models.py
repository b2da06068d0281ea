"""Whole models around one supernet, whose necks and heads have tensors that are parts of the widest model's."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

from mmhybrid.models.build import build_unfilled
from mmhybrid.models.fitting import with_settings, with_widths
from mmhybrid.models.supernets.subnets import Binding, LatestSubnets, bind, synchronised_as
from mmhybrid.models.supernets.supernet import Supernet
from mmhybrid.models.supernets.union import adds_to
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import bad_value


class WholeModels:
    """All whole models of a space, which differ in settings of the necks and heads around one supernet.

    Each is an ordinary model of OpenMMLab, whose tensors are parts of those of the same name in the widest model. Only
    the widest model has weights of its own.

    Args:
        config: Config of a model of OpenMMLab; its backbone is ignored.
        supernet: Backbone of all models.
        space: Space of the models; if it has no genes of the model, there is only the widest one.

    Attributes:
        widest: Model with the largest value of each setting, whose tensors are the shared ones.

    Raises:
        ValueError: If the model lacks a setting of the space, or a model has layers that are not part of the widest's.
    """

    def __init__(self, config: Mapping[str, Any], supernet: Supernet, space: SearchSpace) -> None:
        scope = DefaultScope.get_current_instance()
        # kept, since another scope may be the default when a smaller model is built
        given: dict[str, Any] = {} if scope is None else {'_scope_': scope.scope_name}
        self._config = ConfigDict({**given, **{key: part for key, part in config.items() if key != 'backbone'}})
        self._read_widths = supernet.out_channels
        self._space = space
        self._largest = space.settings(space.largest())
        self._latest: LatestSubnets[nn.Module] = LatestSubnets()

        def built() -> Supernet:
            return supernet

        # a callable type, since not all of OpenMMLab's models accept a backbone that is already built
        self.widest: Any = MODELS.build({**self.config_of(self._largest), 'backbone': {'type': built}})
        for name in self._largest:
            self._check(name)

    def config_of(self, settings: Mapping[str, Any]) -> ConfigDict:
        """Return the config of the model with these settings, without a backbone, for the supernet's widest outputs."""
        return ConfigDict(with_widths(with_settings(self._config, settings), self._read_widths))

    def get(self, settings: Mapping[str, Any]) -> Any:
        """Return the model with these settings, on the shared tensors as they are now, in the mode of the widest."""
        if settings == self._largest:
            return self.widest
        model = self._latest.get(Arch(settings), lambda: self._make(settings))
        model.backbone = self.widest.backbone
        if model.training != self.widest.training:
            model.train(self.widest.training)
        return model

    def forget(self) -> None:
        """Drop all models but the widest, because their tensors would keep replaced ones in memory."""
        self._latest.clear()

    def _make(self, settings: Mapping[str, Any]) -> tuple[nn.Module, list[Binding]]:
        model = synchronised_as(self.widest, self._without_backbone(settings))
        return model.train(self.widest.training), bind(model, self.widest, lambda path: path)

    def _without_backbone(self, settings: Mapping[str, Any]) -> nn.Module:
        # not on the meta device, because tensors outside layers, such as anchors, need their values
        model: nn.Module = build_unfilled({**self.config_of(settings), 'backbone': {'type': nn.Identity}})
        return model

    def _check(self, name: str) -> None:
        """Raise a ValueError if the layers for a value of a setting are not part of those for the largest value."""
        for value in self._space.choices[name].values:
            if adds_to(self.widest, self._without_backbone({**self._largest, name: value}), lambda path: path):
                allowed = f'a value whose layers are part of those of {self._largest[name]}'
                raise bad_value(f'genes.{name}', value, allowed)
