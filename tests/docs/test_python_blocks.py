"""The Python code of the documents is run, as far as it needs no file that only a user has."""

import ast
import builtins
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from doc_blocks import DOCUMENTS, ROOT, Block, blocks_of
from mmengine.config import Config

from mmhybrid.apis import widths_of
from mmhybrid.models.build import build_model
from mmhybrid.models.fitting import fitted
from mmhybrid.registry import MODELS

pytestmark = pytest.mark.docs
SEARCHED = {
    'stem_width': 16,
    'conv_widths': [16, 32, 32],
    'conv_depths': [1, 1, 1],
    'embed_dims': [48, 64, 96],
    'depths': [1, 1, 1],
    'num_heads': [2, 2, 2],
    'mlp_ratios': [2, 2, 2],
}
# How statements begin that need a user's own table, search or exported network.
LEFT_OUT = {
    'docs/detector.md': ['searched = Config.fromfile(', 'widths_of('],
    'docs/latency.md': ['table = LatencyTable.load(', 'table.check_fits(', 'estimate = Estimator(', 'estimate(']
    + ['config = load_config(', 'profile('],
    'docs/use_it.md': ['[found] = classify(', 'print(found[', 'classify = ImageClassificationInferencer(']
    + ['config = Config.fromfile(', 'detect = DetInferencer(', 'detect('],
    'docs/search.md': ['result = Searcher(', 'result.write('],
}
BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document) if block.kind == 'python']


def is_config(block: Block) -> bool:
    """Whether it is a config on a base, which MMEngine reads."""
    return re.match(r'(# \w+\.py\n)?_base_ = ', block.text) is not None


def build(model: dict[str, Any]) -> None:
    """Raise an error unless the backbone that a document configures can be built."""
    with torch.device('meta'):
        MODELS.build(dict(model['backbone']))


def run(block: Block, names: dict[str, Any]) -> list[str]:
    """Run a block statement by statement; returns those left out, for they use a name or a file that is not there."""
    left_out = []
    for statement in ast.parse(block.text).body:
        code = ast.unparse(statement)
        used = {
            node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        own = {
            node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        own |= {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
        if used - own - names.keys() - set(dir(builtins)):
            left_out.append(code)
            continue
        try:
            exec(compile(code, f'{block.document}:{block.line}', 'exec'), names)
        except (FileNotFoundError, ValueError) as error:
            if 'does not exist' not in str(error) and not isinstance(error, FileNotFoundError):
                raise
            left_out.append(code)
            continue
        if 'model' in own and isinstance(names['model'], dict):
            build(names['model'])
    return left_out


@pytest.mark.parametrize('document', sorted({block.document for block in BLOCKS}))
def test_code_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / 'examples'))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    left_out = [
        code for block in BLOCKS if block.document == document and not is_config(block) for code in run(block, names)
    ]
    expected = LEFT_OUT.get(document, [])
    assert len(left_out) == len(expected), left_out
    assert all(map(str.startswith, left_out, expected)), left_out


@pytest.mark.dense
@pytest.mark.parametrize('block', filter(is_config, BLOCKS), ids=lambda block: f'{block.document}:{block.line}')
def test_configs_load_and_fit_together(block: Block, tmp_path: Path) -> None:
    searched = {'backbone': {'type': 'mmhybrid.AutoViT', 'arch': SEARCHED}, 'pretrained': None, 'channels': [384]}
    (tmp_path / 'best_backbone.py').write_text(f'searched = {searched}')
    for other in BLOCKS:
        if named := re.match(r'# (my_\w+\.py)\n', other.text):
            (tmp_path / named[1]).write_text(other.text)
    (tmp_path / 'config.py').write_text(block.text)
    config = Config.fromfile(tmp_path / 'config.py')
    model = config.to_dict()['model']
    if model.get('type') == 'mmhybrid.OneShot':
        with torch.device('meta'):
            build_model(config)
        return
    if model.get('type') == 'mmhybrid.FeatureDistiller':
        build(model)
        return
    reader = 'neck' if 'in_channels' in model['neck'] else 'head'
    changes = fitted(model, widths_of(model['backbone']))
    assert changes[reader] == {'in_channels': model[reader]['in_channels']}


def test_mistakes_are_found() -> None:
    with pytest.raises(ImportError):
        run(Block('a.md', 1, 'python', 'from mmhybrid.space import Nothing'), {})
    with pytest.raises(ValueError, match='kernels'):
        run(Block('a.md', 1, 'python', "raise ValueError('kernels: got 2')"), {})
    assert run(Block('a.md', 1, 'python', 'x = 1\ny = x + z'), {}) == ['y = x + z']
    for mistake in (
        "type='mmhybrid.GLNett'",
        "type='mmhybrid.GLNet', arch='5g'",
        "type='mmhybrid.GLNet', out_indexes=1",
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            run(Block('a.md', 1, 'python', f'model = dict(backbone=dict({mistake}))'), {})


@pytest.mark.parametrize(('family', 'preset'), [('GLNet', '4g'), ('AutoViT', 's'), ('GLiT', 'tiny')])
def test_arguments_for_detectors_give_maps_at_the_strides_named(family: str, preset: str) -> None:
    """Of the table in docs/detector.md."""
    (row,) = re.findall(rf'^\| {family} \| (.*) \|$', (ROOT / 'docs/detector.md').read_text(), re.MULTILINE)
    arguments = ', '.join(span for span in re.findall(r'`([^`]*)`', row) if '=' in span)
    given = Config.fromstring(f'given = dict({arguments})', '.py').given
    backbone = MODELS.build({'type': f'mmhybrid.{family}', 'arch': preset, **given})
    strides = [256 // out.shape[-1] for out in backbone.eval()(torch.zeros(1, 3, 256, 256))]
    assert strides == ([4, 8, 16, 32] if 'outputs at strides 4 to 32' in row else [16])
