"""The command line of tools/visualize_features.py; maps and drawing are tests/visualization's."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmhybrid.visualization.features import draw_features, feature_map
from mmhybrid.visualization.host import PhotographReader, build_host

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools' / 'visualize_features.py'))
DEMO = ROOT / 'configs' / 'demo'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images of different shapes."""
    monkeypatch.chdir(tmp_path)
    for name, shape in (('a', (48, 80, 3)), ('b', (90, 60, 3))):
        cv2.imwrite(f'{name}.png', np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    return tmp_path


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        TOOL['main']([*map(str, arguments), '--out', 'out'])
    assert ended.value.code == 2
    assert not Path('out').exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    'name',
    [
        'glit_cls',
        'glnet_cls',
        'autovit_cls',
        pytest.param('glit_det', marks=pytest.mark.dense),
        pytest.param('autovit_seg', marks=pytest.mark.dense),
    ],
)
def test_shows_the_weights_of_the_checkpoint(name, folder):
    config = DEMO / f'{name}.py'
    cfg = Config.fromfile(config)
    model = build_host(cfg)
    torch.save({'state_dict': model.state_dict()}, 'random.pth')
    TOOL['main']([str(config), 'random.pth', 'a.png', 'b.png', '--out', 'out'])
    photographs = PhotographReader(cfg, model.data_preprocessor).read_all(['a.png', 'b.png'])
    maps = [feature_map(model.backbone, photograph.inputs) for photograph in photographs]
    assert all(values.max() > values.min() for values in maps)
    expected = draw_features(photographs, maps, f'{name}, random').png_file()
    assert Path('out/features.png').read_bytes() == expected
    assert [path.name for path in Path('out').iterdir()] == ['features.png']


def test_mistakes_end_with_one_sentence(folder, capsys):
    config = DEMO / 'glit_cls.py'
    torch.save({'state_dict': {}}, 'empty.pth')
    assert 'none.pth does not exist' in fails(capsys, config, 'none.pth', 'a.png')
    assert 'does not fit the model: missing' in fails(capsys, config, 'empty.pth', 'a.png')
    assert 'none.png does not exist' in fails(capsys, config, 'empty.pth', 'none.png')
    assert 'none.py does not exist' in fails(capsys, 'none.py', 'empty.pth', 'a.png')
    supernet = DEMO / 'autovit_supernet.py'
    assert '(OneShot) has no backbone' in fails(capsys, supernet, 'empty.pth', 'a.png')
