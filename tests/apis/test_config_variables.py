"""Variables of configs from the command line: what a config computes from them follows."""

import sys
from pathlib import Path

import pytest

from mmhybrid.apis.config_variables import with_values
from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.arguments import Parser, add_config

ROOT = Path(__file__).resolve().parents[2]
OWN = str(ROOT / 'configs/glnet/supernet_rtmdet_glnet_small_own.py')


@pytest.mark.dense
def test_own_data_is_three_options() -> None:
    """Every place that a folder, classes or a size has in the config."""
    parser = Parser()
    add_config(parser)
    typed = ['data_root=data/mine', "classes=('cat','dog')", 'scale=(320,192)']
    cfg = load_config(OWN, parser.parse_args([OWN, '--cfg-options', *typed]).cfg_options)
    datasets = [
        cfg.train_dataloader.dataset.dataset,
        *(cfg[f'{split}_dataloader'].dataset for split in ('val', 'test')),
        *(cfg[loop].calibration.dataset for loop in ('val_cfg', 'search_cfg')),
    ]
    for dataset in datasets:
        assert Path(dataset.data_root) == Path('data/mine')
        assert dataset.metainfo.classes == ('cat', 'dog')
    assert cfg.model.architecture.bbox_head.num_classes == 2
    assert Path(cfg.val_evaluator.ann_file) == Path('data/mine/annotations/search_val.json')
    assert Path(cfg.test_evaluator.ann_file) == Path('data/mine/annotations/instances_val2017.json')
    assert tuple(cfg.search_cfg.input_size) == (192, 320)
    assert [step.size for step in cfg.val_dataloader.dataset.pipeline if step.type == 'Pad'] == [(320, 192)]
    assert load_config(OWN).data_root == 'data/demo/coco'


def test_variables_of_a_base_and_of_the_config_itself(tmp_path: Path) -> None:
    (tmp_path / 'base.py').write_text(
        "epochs = 3\nroot = 'a'\ntrain_cfg = dict(max_epochs=epochs, begin=epochs // 3)\n"
    )
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(
        "_base_ = ['./base.py']\nwide = dict(at=_base_.epochs)\nname = 'ö'; lot = [\n    1,\n    2,\n]  # two\n"
        "val_cfg = dict(where=f'{_base_.root}/{name}', count=len(lot))\n"
    )
    cfg = load_config(str(leaf), {'epochs': 9, 'root': 'it\'s "b"', 'lot': [1, 2, 3], 'train_cfg.begin': 1})
    assert cfg.train_cfg == {'max_epochs': 9, 'begin': 1}
    assert cfg.wide == {'at': 9}
    assert cfg.val_cfg == {'where': 'it\'s "b"/ö', 'count': 3}
    again = load_config(str(leaf))
    assert again.train_cfg == {'max_epochs': 3, 'begin': 1}
    assert again.val_cfg == {'where': 'a/ö', 'count': 2}


def test_what_is_no_variable_is_as_ever(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--cfg-options: got 'rooot'"):
        load_config(OWN, {'rooot': 'data'})
    with pytest.raises(ValueError, match="--cfg-options: got '_base_'"):
        load_config(OWN, {'_base_': 'other.py'})
    assert load_config(OWN, {'load_from': 'a.pth'}).load_from == 'a.pth'
    assert load_config(OWN, {'optim_wrapper': {'optimizer': {'lr': 1.0}}}).optim_wrapper.optimizer.type == 'AdamW'
    assert with_values('a = (', {'a': 1}) == 'a = ('
    assert with_values('a = b = 1\na.c = 2\na: int = 3\n', {'a': 5}) == 'a = b = 1\na.c = 2\na: int = 3\n'
    broken = tmp_path / 'broken.py'
    broken.write_text('a = (')
    with pytest.raises(ValueError, match='cannot be read: SyntaxError'):
        load_config(str(broken), {'a': 1})


def test_modules_given_as_an_option_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'module_of_an_option.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    config = str(ROOT / 'configs/demo/autovit_search.py')
    try:
        load_config(config, {'custom_imports.imports': ['mmhybrid', 'module_of_an_option']})
        assert 'module_of_an_option' in sys.modules
    finally:
        sys.modules.pop('module_of_an_option', None)
    with pytest.raises(ValueError, match=r'--cfg-options custom_imports: .*module_that_is_not_there'):
        load_config(config, {'custom_imports.imports': ['module_that_is_not_there']})
