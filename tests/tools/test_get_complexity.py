"""The command line of tools/get_complexity.py; the counts themselves are tests/counting's."""

import runpy
from pathlib import Path

import pytest

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


def test_tells_the_space_of_a_supernet(main, tmp_path, capsys):
    """STL's published size without its classifier is that of the largest network; table 1's depths are halved."""
    space = "dict(type='mmhybrid.GLNetSpace', around='stl')"
    supernet = f"dict(type='mmhybrid.Supernet', space={space}, backbone=dict(type='mmhybrid.GLNet'))"
    (tmp_path / 'supernet.py').write_text(CONFIG.replace("dict(type='mmhybrid.GLNet', arch='stl')", supernet))
    main([str(tmp_path / 'supernet.py')])
    tables = capsys.readouterr().out.split('the smallest backbone of 2,592,000 at 224 x 224')[1]
    smallest, largest = tables.split('the largest backbone of 2,592,000 at 224 x 224')
    assert int(smallest.split('total')[1].split()[0].replace(',', '')) < 12e6
    assert f'{30_296_786 - 769_000:,}' in largest.split('total')[1]
    genes = [line.split('  ') for line in largest.splitlines()]
    rows = [[cell.strip() for cell in row if cell.strip()] for row in genes]
    assert ['stages.*.depth', '3, 4, 5, 6', '1'] in rows
    assert ['stages.*.ffn_ratio', '2, 3, 4', '4'] in rows
    assert ['stages.*.blocks.*.mixer', 'mhsa', '2'] in rows


def test_options_replace_the_settings(main, config, capsys):
    main([config, '--shape', '64', '64', '--cfg-options', 'model.backbone.arch=stl-paramslot'])
    assert '30,481,106' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (['missing.py'], 'missing.py'),
        (['CONFIG', '--shape', '0', '64'], 'input_shape'),
        (['CONFIG', '--cfg-options', 'mdoel.backbone.arch=stl'], 'mdoel'),
        (['CONFIG', '--cfg-options', 'model.backbone.arch=5g'], '5g'),
        ([], 'config'),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(main, config, capsys, arguments, word):
    with pytest.raises(SystemExit) as exit_info:
        main([config if argument == 'CONFIG' else argument for argument in arguments])
    assert exit_info.value.code == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert word in sentence
