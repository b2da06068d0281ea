import argparse
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_tool(monkeypatch):
    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, args)])
        runpy.run_path(str(ROOT / 'tools' / 'convert_checkpoint.py'), run_name='__main__')

    return run


@pytest.mark.parametrize(
    ('content', 'args', 'message'),
    [
        (None, (), 'No such file'),
        ({'model': {'conv1.weight': torch.ones(2, 3)}}, (), 'not a released EfficientNetLite or GLiT or GLNet'),
        ({'model': {'conv1.weight': torch.ones(2, 3)}}, ('--key', 'ema'), "key: got 'ema'"),
        ({'model': {'blocks.0.0.norm1.weight': torch.ones(192)}}, (), "'tiny', missing backbone.cls_token (1, 1, 192)"),
    ],
)
def test_one_sentence_and_exit_code_2(run_tool, capsys, tmp_path, content, args, message):
    if content is not None:
        torch.save(content, tmp_path / 'src.pth')
    with pytest.raises(SystemExit) as ended:
        run_tool(tmp_path / 'src.pth', tmp_path / 'dst.pth', *args)
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / 'dst.pth').exists()


def test_released_file_is_converted(run_tool, tmp_path):
    with np.load(ROOT / 'tests' / 'data' / 'reference' / 'glit_tiny.npz') as data:
        shapes = json.loads(str(data['shapes']))
    model = {name: torch.zeros(shape) for name, shape in shapes.items()}
    torch.save({'model': model, 'args': argparse.Namespace(lr=1)}, tmp_path / 'src.pth')
    run_tool(tmp_path / 'src.pth', tmp_path / 'new' / 'dst.pth')
    converted = torch.load(tmp_path / 'new' / 'dst.pth', weights_only=True)
    assert converted['meta']['backbone'] == {'type': 'mmhybrid.GLiT', 'arch': 'tiny'}
    assert converted['meta']['dataset_meta']['classes'][0] == 'tench, Tinca tinca'
    assert len(converted['state_dict']) == len(shapes)


def test_a_glnet_has_to_be_named(run_tool, tmp_path, capsys):
    with np.load(ROOT / 'tests' / 'data' / 'reference' / 'glnet_stl.npz') as data:
        shapes = json.loads(str(data['shapes']))
    torch.save({'model': {name: torch.zeros(shape) for name, shape in shapes.items()}}, tmp_path / 'src.pth')
    with pytest.raises(SystemExit) as ended:
        run_tool(tmp_path / 'src.pth', tmp_path / 'dst.pth')
    assert ended.value.code == 2
    assert 'do not determine num_slots (64 as published) and head_dim (32 as published)' in capsys.readouterr().err
    for said, arch in ((('--arch', 'stl'), 'stl'), (('--num-slots', 64, '--head-dim', 32), 'stl')):
        run_tool(tmp_path / 'src.pth', tmp_path / 'dst.pth', *said)
        assert torch.load(tmp_path / 'dst.pth', weights_only=True)['meta']['backbone']['arch'] == arch
    run_tool(tmp_path / 'src.pth', tmp_path / 'dst.pth', '--num-slots', 49, '--head-dim', 32)
    arch = torch.load(tmp_path / 'dst.pth', weights_only=True)['meta']['backbone']['arch']
    assert arch['num_slots'] == [49, 49, 49, 49]
