"""The command line of tools/get_complexity.py; the counts themselves are tests/estimation's."""

import runpy
from pathlib import Path

import pytest

from mmhybrid.estimation.presets import PRESETS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'get_complexity.py'
CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhybrid.GLNet', arch='stl'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=768),
)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def main():
    return runpy.run_path(str(TOOL))['main']


def test_counts_a_config(main, config, capsys):
    main([config, '--shape', '224', '224'])
    out = capsys.readouterr().out
    total = next(line for line in out.splitlines() if 'total' in line)
    assert '30,296,786' in total
    assert '4.347' in total
    assert 'backbone.stages.3' in out


def test_options_replace_the_settings(main, config, capsys):
    main([config, '--shape', '64', '64', '--cfg-options', 'model.backbone.arch=stl-paramslot'])
    assert '30,481,106' in capsys.readouterr().out


def test_presets_have_a_row_each(main, capsys):
    main(['--presets'])
    rows = [[cell.strip() for cell in line.split('|')[1:3]] for line in capsys.readouterr().out.splitlines()]
    assert rows[2:] == [[preset.family, preset.arch] for preset in PRESETS]


@pytest.mark.slow
@pytest.mark.dense
def test_model_zoo_is_the_page_in_the_documentation(main, capsys):
    main(['--model-zoo'])
    assert capsys.readouterr().out == (ROOT / 'docs' / 'model_zoo.md').read_text()


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (['missing.py'], 'missing.py'),
        (['CONFIG', '--shape', '0', '64'], 'input_shape'),
        (['CONFIG', '--cfg-options', 'mdoel.backbone.arch=stl'], 'mdoel'),
        (['CONFIG', '--cfg-options', 'model.backbone.arch=5g'], '5g'),
        (['CONFIG', '--presets'], '--presets'),
        (['--presets', '--model-zoo'], '--model-zoo'),
        ([], 'CONFIG'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(main, config, capsys, arguments, word):
    with pytest.raises(SystemExit) as exit_info:
        main([config if argument == 'CONFIG' else argument for argument in arguments])
    assert exit_info.value.code == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert word in sentence
