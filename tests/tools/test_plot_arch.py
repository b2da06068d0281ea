"""The command line of tools/plot_arch.py; the drawing itself is tests/visualization's."""

import csv
import json
import random
from importlib import import_module
from xml.etree import ElementTree

import pytest

from mmhybrid.models.families import FAMILIES
from mmhybrid.space import GLiTSpace
from mmhybrid.visualization.arch_drawing import arch_diagram, draw

TOOL = vars(import_module('mmhybrid.commands.plot_arch'))
SPACE = GLiTSpace()


@pytest.fixture
def best(tmp_path):
    path = tmp_path / 'best_arch.json'
    path.write_text(
        json.dumps({'space': SPACE.to_config(), 'arch': dict(SPACE.smallest()), 'metrics': {'accuracy/top1': 1.0}})
    )
    return path


def test_draws_what_a_search_found(best, tmp_path):
    TOOL['main']([str(best), '--out', str(tmp_path / 'arch.svg')])
    picture = draw(arch_diagram(SPACE, SPACE.smallest()))
    assert (tmp_path / 'arch.svg').read_bytes() == picture.svg_file()
    TOOL['main']([str(best), '--out', str(tmp_path / 'arch.png')])
    assert (tmp_path / 'arch.png').read_bytes() == picture.png_file()


def test_draws_what_was_retrained_and_each_row_of_the_table(best, tmp_path):
    """A table has no space of its own: that of the search stands in ``best_arch.json`` beside it."""
    archs = [SPACE.sample(random.Random(seed)) for seed in range(2)]
    rows = [['rank', 'accuracy/top1', 'arch'], *([i, 1.0, arch.to_json()] for i, arch in enumerate(archs, start=1))]
    with open(tmp_path / 'topk.csv', 'w', newline='') as file:
        csv.writer(file).writerows(rows)
    retrained = {'space': SPACE.to_config(), 'metric': 'accuracy/top1', 'arch': dict(archs[1]), 'retrained_score': 2.0}
    (tmp_path / 'best_retrained.json').write_text(json.dumps(retrained))
    for source, arch in (('topk.csv', archs[0]), ('topk.csv:2', archs[1]), ('best_retrained.json', archs[1])):
        TOOL['main']([str(tmp_path / source), '--out', str(tmp_path / 'arch.svg')])
        assert (tmp_path / 'arch.svg').read_bytes() == draw(arch_diagram(SPACE, arch)).svg_file()


@pytest.mark.parametrize(
    ('preset', 'blocks'),
    [
        ('autovit-xxs', 1 + 5 + 15),
        ('autovit-xs', 1 + 5 + 8),
        ('autovit-s', 1 + 5 + 8),
        *((f'glit-{size}', 12) for size in ('tiny', 'small', 'base')),
        *((f'glnet-{name}', 12) for name in ('stl', 'stl-paramslot')),
        *((f'glnet-{name}', 30) for name in ('4g', '9g', '16g')),
        # stem and head; table 1 of the paper has sixteen blocks
        *((f'efficientnet-lite{i}', 2 + blocks) for i, blocks in enumerate((16, 21, 21, 24, 30))),
    ],
)
def test_draws_published_networks(preset, blocks, tmp_path):
    TOOL['main'](['--preset', preset, '--out', str(tmp_path / 'arch.svg')])
    root = ElementTree.fromstring((tmp_path / 'arch.svg').read_bytes())
    assert len(list(root.iter('{http://www.w3.org/2000/svg}g'))) == blocks
    assert next(root.iter('{http://www.w3.org/2000/svg}text')).text.startswith(f'{preset}: ')


def test_all_presets_are_tested():
    assert sum(len(family.arch.presets) for family in FAMILIES.values()) == 16


def test_mistakes_end_with_one_sentence(best, tmp_path, capsys):
    def fails(*arguments):
        with pytest.raises(SystemExit) as ended:
            TOOL['main'](list(map(str, arguments)))
        assert ended.value.code == 2
        return capsys.readouterr().err

    out = ('--out', tmp_path / 'arch.svg')
    assert 'none.json does not exist' in fails('none.json', *out)
    assert "'arch.pdf'" in fails(best, '--out', 'arch.pdf')
    assert '--preset' in fails('--preset', 'glnet-5g', *out)
    assert 'not allowed with' in fails(best, '--preset', 'glnet-4g', *out)
    assert 'its folder does not exist' in fails(best, '--out', tmp_path / 'none' / 'arch.svg')
    for content, message in (
        ('[]', 'not a JSON object'),
        ('{"arch": {}}', 'missing space'),
        (json.dumps({'space': SPACE.to_config(), 'arch': {}}), 'blocks.0.num_attn_heads: missing'),
        (json.dumps({'space': {'type': 'None'}, 'arch': {}}), "space.type: got 'None', allowed: one of"),
    ):
        best.write_text(content)
        assert message in fails(best, *out)
    (tmp_path / 'topk.csv').write_text('rank,arch\n1,{}\n')
    assert "rank: got '2'" in fails(tmp_path / 'topk.csv:2', *out)
    best.unlink()
    assert 'topk.csv: missing space' in fails(tmp_path / 'topk.csv', *out)
    assert not (tmp_path / 'arch.svg').exists()
