"""Models from configs: what the runner builds, and networks without values, for which nothing is computed."""

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils._python_dispatch import TorchDispatchMode

from mmhybrid.models.build import build_model, build_on_meta

NETWORKS = {
    'glnet': {'type': 'mmhybrid.GLNet', 'arch': 'stl-paramslot'},
    'glnet-4g': {'type': 'mmhybrid.GLNet', 'arch': '4g'},
    'glit': {'type': 'mmhybrid.GLiT', 'arch': 'tiny'},
    'autovit': {'type': 'mmhybrid.AutoViT', 'arch': 'xxs'},
}


class WrittenOperations(TorchDispatchMode):
    """Lists the operations that write into a tensor."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.is_mutable:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('network', NETWORKS)
def test_no_initial_values_are_computed_on_the_meta_device(network):
    with WrittenOperations() as operations:
        built = build_on_meta(NETWORKS[network])
    assert not operations.found
    assert {tensor.device.type for tensor in built.state_dict().values()} == {'meta'}


def classifier():
    return Config(
        {
            'default_scope': 'mmpretrain',
            'data_preprocessor': {'mean': [1.0, 2.0, 3.0], 'std': [1.0, 1.0, 1.0], 'num_classes': 5},
            'model': {
                'type': 'ImageClassifier',
                'backbone': {'type': 'mmhybrid.AutoViT', 'arch': 'xxs'},
                'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 480},
                'train_cfg': {'augments': {'type': 'Mixup', 'alpha': 0.8}},
            },
        }
    )


def test_a_model_is_what_the_runner_builds(tmp_path):
    cfg = classifier()
    model = build_model(cfg)
    assert cfg.to_dict() == classifier().to_dict()
    runner = Runner(work_dir=str(tmp_path), experiment_name='build', **classifier())
    assert type(model) is type(runner.model)
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    assert type(model.data_preprocessor.batch_augments) is type(runner.model.data_preprocessor.batch_augments)
    mine, its = model.state_dict(), runner.model.state_dict()
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in its.items()}


def test_the_scope_of_the_process_stays():
    with DefaultScope.overwrite_default_scope('mmdet'):
        build_model(classifier())
        assert DefaultScope.get_current_instance().scope_name == 'mmdet'


def test_a_config_without_a_model():
    with pytest.raises(ValueError, match='has no model'):
        build_model(Config({'default_scope': 'mmpretrain'}))
