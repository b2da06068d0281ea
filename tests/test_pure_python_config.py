"""A config without strings: our classes are imported from ``mmhybrid.models`` and ``mmhybrid.engine``."""

import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmhybrid import registry
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.training import train
from mmhybrid.datasets.demo_data import make_demo_data

DEMO = Path(__file__).resolve().parents[1] / 'configs/demo'
PURE = str(DEMO / 'glnet_cls_pure-python.py')
NOT_IN_IT = ('custom_imports', 'backbone', 'dense', 'channels', 'cls_channels', 'train_pipeline', 'test_pipeline')


def plain(value: Any) -> Any:
    """With the bare names of classes, and lists in the place of tuples."""
    if isinstance(value, Mapping):
        return {
            key: item.rpartition('.')[2] if key == 'type' and isinstance(item, str) else plain(item)
            for key, item in value.items()
        }
    return list(map(plain, value)) if isinstance(value, list | tuple) else value


def test_says_what_the_config_with_strings_says() -> None:
    theirs = plain(Config.fromfile(DEMO / 'glnet_cls.py').to_dict())
    assert plain(Config.fromfile(PURE).to_dict()) == {k: v for k, v in theirs.items() if k not in NOT_IN_IT}


def test_trains_and_is_written_into_the_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_demo_data('data/demo', num_train=4, num_val=2, size=64, seed=0)
    loaders = {
        f'{split}_dataloader.{name}': value
        for split in ('train', 'val')
        for name, value in {'num_workers': 0, 'persistent_workers': False, 'batch_size': 2}.items()
    }
    short = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1, 'default_hooks.checkpoint.interval': 1}
    train(load_config(PURE, {**loaders, **short}))
    assert Path('work_dirs/glnet_cls_pure-python/epoch_1.pth').is_file()
    written = Config.fromfile('work_dirs/glnet_cls_pure-python/glnet_cls_pure-python.py')
    assert written.model.backbone.type.rpartition('.')[2] == 'GLNet'


@pytest.mark.parametrize(
    ('package', 'registries'),
    [('mmhybrid.models', ['MODELS']), ('mmhybrid.engine', ['HOOKS', 'LOOPS', 'OPTIM_WRAPPERS'])],
)
def test_every_component_can_be_imported(package: str, registries: list[str]) -> None:
    module = import_module(package)
    for name in registries:
        components = getattr(registry, name)
        components.import_from_location()
        ours = {name for name, kind in components.module_dict.items() if kind.__module__.startswith('mmhybrid.')}
        for component in {*ours, *components.of_search}:  # tests register some, too
            assert getattr(module, component).__name__ == component
    with pytest.raises(AttributeError, match='no attribute'):
        _ = module.Nothing


def test_the_search_is_imported_only_when_it_is_asked_for() -> None:
    code = """
import sys, mmhybrid.models, mmhybrid.engine
assert not {'mmhybrid.models.one_shot', 'mmhybrid.models.supernets', 'mmhybrid.search'} & set(sys.modules)
mmhybrid.models.OneShot, mmhybrid.engine.SearchLoop
"""
    subprocess.run([sys.executable, '-c', code], check=True)
