"""The command line of tools/visualize_slots.py; maps and drawing are tests/visualization's."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmhybrid.visualization import slots
from mmhybrid.visualization.host import build_host
from mmhybrid.visualization.picture import Picture

TOOL = runpy.run_path(str(Path(__file__).parents[2] / 'tools' / 'visualize_slots.py'))
PICTURE = Picture(10, 10, [], 'nothing')
CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmhybrid'])
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmhybrid.GLNet',
        arch=dict(
            embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'glmix', 'glmix', 'mhsa'],
            num_slots=[4, 4, 9, 4],
        ),
    ),
)
data_preprocessor = dict(mean=[127] * 3, std=[127] * 3, to_rgb=True)
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)), dict(type='PackInputs')]))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A config, two checkpoints and two images."""
    monkeypatch.chdir(tmp_path)
    Path('tiny.py').write_text(CONFIG)
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        model = build_host(Config.fromfile('tiny.py'))
        torch.save({'state_dict': model.state_dict(), 'meta': {}}, f'epoch_{epoch}.pth')
    for seed, name in enumerate('ab'):
        cv2.imwrite(f'{name}.jpg', np.random.default_rng(seed).integers(0, 256, (48, 80, 3), np.uint8))
    return tmp_path


def run(*arguments):
    TOOL['main'](['tiny.py', *map(str, arguments)])


def fails(capsys, *arguments):
    """The sentence with which the tool ends, having written nothing."""
    with pytest.raises(SystemExit) as ended:
        run(*arguments, '--out', 'out')
    assert ended.value.code == 2
    assert not Path('out').exists()
    return capsys.readouterr().err


def size(path):
    return cv2.imread(str(path)).shape[:2]


def test_a_picture_for_each_image_with_rows_and_columns(folder, capsys):
    run('epoch_1.pth', 'a.jpg', 'b.jpg')
    written = sorted((folder / 'work_dirs' / 'tiny' / 'pictures').iterdir())
    assert [path.name for path in written] == ['a_slots.png', 'b_slots.png']
    assert 'a_slots.png' in capsys.readouterr().out
    height, width = size(written[0])
    assert written[0].read_bytes() != written[1].read_bytes()
    more = ('--more-checkpoints', 'epoch_2.pth', '--blocks', '1', '3', '2')
    run('epoch_1.pth', 'a.jpg', *more, '--out', 'out')
    more_height, more_width = size('out/a_slots.png')
    dots = 2  # for a pixel
    assert more_height - height == pytest.approx(dots * (slots.HEAD + slots.SIDE + slots.PANEL_GAP), abs=1)
    assert more_width - width == pytest.approx(dots * 2 * (2 * slots.SIDE + slots.GAP + slots.PANEL_GAP), abs=1)


def test_checkpoints_weights_and_range_matter_and_nothing_else(folder):
    contents = set()
    base = ('epoch_1.pth', 'a.jpg')
    for i, options in enumerate((base, (*base, '--weights', 'clustering'), (*base, '--range', 0, 1))):
        for again in range(2):
            run(*options, '--out', f'{i}{again}')
        assert Path(f'{i}0/a_slots.png').read_bytes() == Path(f'{i}1/a_slots.png').read_bytes()
        contents.add(Path(f'{i}0/a_slots.png').read_bytes())
    Path('epoch_2.pth').rename('epoch_1.pth')  # so that the titles are the same
    run(*base, '--out', 'other')
    contents.add(Path('other/a_slots.png').read_bytes())
    assert len(contents) == 4


def test_the_first_checkpoint_may_have_a_range_of_its_own(folder, monkeypatch):
    drawn = []
    monkeypatch.setitem(TOOL['main'].__globals__, 'draw_slots', lambda photograph, rows: drawn.append(rows) or PICTURE)
    both = ('epoch_1.pth', 'a.jpg', '--more-checkpoints', 'epoch_2.pth')
    for options in ((), ('--range', 0, 1), ('--range', 0, 1, '--stretch-first')):
        run(*both, *options)
    limits = [[panel.limits for row in rows for panel in row] for rows in drawn]
    assert limits == [[None, None], [(0, 1), (0, 1)], [None, (0, 1)]]


def test_mistakes_end_with_one_sentence(folder, capsys):
    good = ('epoch_1.pth', 'a.jpg')
    Path('text.jpg').write_text('text')
    torch.save({'state_dict': {'weight': torch.zeros(1)}}, 'other.pth')
    torch.save({'state_dict': {}, 'evil': Path}, 'unsafe.pth')
    assert 'a block with slots: 1, 2, 3' in fails(capsys, *good, '--blocks', '4')
    assert '--range: got 0.5' in fails(capsys, *good, '--range', '0.5', '0.5')
    assert 'none.jpg does not exist' in fails(capsys, 'epoch_1.pth', 'a.jpg', 'none.jpg')
    assert 'text.jpg cannot be read' in fails(capsys, 'epoch_1.pth', 'text.jpg')
    assert 'none.pth does not exist' in fails(capsys, *good, '--more-checkpoints', 'none.pth')
    assert 'a.jpg is not read: it is damaged, or a pickle' in fails(capsys, 'a.jpg', 'a.jpg')
    assert 'unsafe.pth is not read: it names pathlib' in fails(capsys, 'unsafe.pth', 'a.jpg')
    assert 'does not fit the model' in fails(capsys, 'other.pth', 'a.jpg')
    assert 'two of the files are called' in fails(capsys, 'epoch_1.pth', 'a.jpg', './a.jpg')
    assert '--stretch-first: got no --range' in fails(capsys, *good, '--stretch-first')
    Path('tiny.py').write_text(CONFIG.replace("'glmix'", "'local'"))
    assert 'has no slots' in fails(capsys, *good)
