"""Every command of the documents starts; `make docs-check` runs them too, but for those that reader.py lists."""

import re

import pytest
from command_checks import check, check_config, missing_paths, options_of
from doc_blocks import DOCUMENTS, ROOT, Command, blocks_of, commands_of, spans_of

pytestmark = pytest.mark.docs
# Classifiers, a detector, a supernet and searches.
KINDS = [
    *(f'configs/demo/{name}.py' for name in ('glnet_cls', 'glnet_det', 'autovit_supernet', 'autovit_search')),
    'configs/glnet/glnet_4g_token-label_in1k.py',
    'configs/autovit/search_autovit_xxs_in1k.py',
]
# Of configs that tools/export_subnet.py writes.
OF_EXPORTED = {'model.backbone.init_cfg.checkpoint'}
# Of programs that are not the project's.
# of pip, torchrun, srun, bundles, TensorBoard, MMPretrain's tools, and of the code that GLiT's authors released
OPTIONS_OF_OTHERS = {
    '--no-build-isolation',
    '--no-deps',
    '--no-index',
    '--nproc-per-node',
    '--kill-on-bad-exit',
    '--clip-grad',
    '--dataset-size',
    '--logdir',
    '--pause',
}


@pytest.mark.parametrize('document', DOCUMENTS)
def test_every_block_and_command_is_known_and_starts(document: str) -> None:
    blocks_of(document)
    for command in commands_of(document):
        check(command)


@pytest.mark.parametrize('document', DOCUMENTS)
def test_paths_and_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    assert not missing_paths(text)
    links = re.findall(r'\]\(([^)#]+)[^)]*\)', text)
    missing = [link for link in links if '://' not in link and not (ROOT / document).parent.joinpath(link).exists()]
    assert not missing


def test_settings_named_in_prose_are_some_configs() -> None:
    """`--cfg-options NAME=VALUE` without a program fits one of the kinds of configs, as in a command."""
    named = {
        (document, setting)
        for document in DOCUMENTS
        for _, span in spans_of(document)
        if span.startswith('--cfg-options ')
        for setting in re.findall(r'(?<!\S)([\w.]+)=', span)
        if setting not in OF_EXPORTED
    }
    assert len(named) > 5
    assert not [setting for setting in sorted(named) if not any(fits(config, setting[1]) for config in KINDS)]


def fits(config: str, setting: str) -> bool:
    """Whether a config has, or reads, a setting."""
    try:
        check_config(config, {setting: '1'})
    except ValueError:
        return False
    return True


def test_options_named_in_prose_exist() -> None:
    scripts = [
        f'{folder}/{path.name}' for folder in ('tools', 'benchmarks') for path in (ROOT / folder).glob('[a-z]*.py')
    ]
    known = set.union(OPTIONS_OF_OTHERS, *map(options_of, scripts))
    named = {
        (document, option)
        for document in DOCUMENTS
        for _, span in spans_of(document)
        for option in re.findall(r'(?<!\S)--[a-z][\w-]*', span)
    }
    assert len(named) > 20
    assert not [option for option in sorted(named) if option[1] not in known]


@pytest.mark.parametrize(
    ('words', 'mistake'),
    [
        ('python tools/none.py', 'does not exist'),
        ('python tools/train.py', 'required: config'),
        ('python tools/train.py CONFIG --amq', 'unrecognized arguments: --amq'),
        ('python tools/train.py configs/demo/none.py', 'configs/demo/none.py does not exist'),
        ('python tools/train.py configs/demo/glnet_cls.py --cfg-options train_cgf.max_epochs=1', 'train_cgf'),
        ('python tools/train.py configs/demo/glnet_cls.py --cfg-options model.bakbone.arch=4g', 'no bakbone'),
        ('python tools/search.py configs/demo/autovit_search.py', 'required: --checkpoint'),
        ('bash tools/dist_train.sh configs/demo/none.py 8', 'configs/demo/none.py does not exist'),
        ('bash tools/slurm_train.sh PARTITION JOB configs/demo/glnet_cls.py DIR --amq', '--amq'),
        ('bash tools/torchrun.sh --nproc 8 --no-such-option tools/train.py CONFIG', 'torchrun'),
        ('make nothing', 'nothing'),
        ('pip install no-such-thing', 'no-such-thing'),
        ('pip install --no-such-flag numpy', '--no-such-flag'),
        ('pip install -e nowhere', 'nowhere has no setup.py'),
        ('pip install -e .[none]', 'none'),
        ('mmhybrid trian', 'mmhybrid trian, allowed'),
        ('mmhybrid train mmhybrid::none/none.py', 'cannot be found'),
        ('python -m mmhybrid report --outt a work_dir', '--outt'),
        ('. .env/bin/activate', 'allowed: .venv/bin/activate'),
        ('optuna-dashboard nothing', 'nothing'),
        ('awk {print a.txt', 'awk'),
        ('bash tools/torchrun.sh --nproc-per-node 8 tools/none.py --launcher pytorch', 'tools/none.py does not exist'),
        (
            'bash tools/torchrun.sh --nproc-per-node 8 tools/search.py CONFIG --checkpoint CHECKPOINT',
            'without --launcher',
        ),
        *(
            (f'python tools/train.py {config} --cfg-options {option}=1', f'has no {option.split(".")[-1]}')
            for config, option in (
                ('configs/glnet/glnet_4g_in1k.py', 'model.backbone.with_cpp'),
                ('configs/demo/autovit_search.py', 'search_cfg.latency_tabel'),
                ('configs/demo/autovit_search.py', 'search_cfg.constraints.macs_m.maxx'),
                ('configs/demo/autovit_search.py', 'search_cfg.stages.fine.budgett'),
                ('configs/demo/autovit_search.py', 'model.architecture.backbone.space.restrictt'),
                ('configs/demo/glnet_cls.py', 'optim_wrapper.accumulative_countss'),
                ('configs/demo/glnet_cls.py', 'optim_wrapper.dtype'),
                ('configs/demo/glnet_cls.py', 'default_hooks.checkpoint.intervall'),
                ('configs/demo/glnet_cls.py', 'train_dataloader.dataset.indice'),
                ('configs/demo/glnet_cls.py', 'train_cfg.max_iters'),
            )
        ),
    ],
)
def test_mistakes_are_found(words: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=re.escape(mistake)):
        check(Command('a.md', 1, tuple(words.split())))


@pytest.mark.parametrize(
    ('text', 'mistake'),
    [
        ('```bash\ncurl http://somewhere\n```', 'a.md:2: .curl. starts a command'),
        ('```perl\n1\n```', 'a.md:2: a block of perl'),
        ('```bash\nmake', 'a.md:1: the block does not end'),
        ('Text:\n\n    some words', 'a.md:3: neither a command nor'),
        ('```bash\nA=1\npython a.py $A $B\n```', 'a.md:3: nothing above sets B'),
    ],
)
def test_nothing_is_skipped(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=mistake):
        commands_of('a.md', text)


def test_commands_are_read_as_a_shell_reads_them() -> None:
    text = """
Say `make this`, not `make`, and

    OPTIONS="--a b"
    X=1 python a.py $OPTIONS \\
        --c   # nothing
    python b.py 'two words'
"""
    this, first, second = commands_of('a.md', text)
    assert (this.line, this.words) == (2, ('make', 'this'))
    assert (first.line, first.words) == (5, ('python', 'a.py', '--a', 'b', '--c'))
    assert first.environment == (('X', '1'),)
    assert (second.line, second.words) == (7, ('python', 'b.py', 'two words'))


def test_outputs_are_handed_on_as_a_shell_does() -> None:
    text = """
    python a.py | tee a.txt
    X=$(awk 'END { print $1 }' a.txt)   # nothing
    python b.py --max=$X
"""
    first, second, third = commands_of('a.md', text)
    assert (first.words, first.pipe) == (('python', 'a.py'), ('tee', 'a.txt'))
    assert (second.words, second.variable) == (('awk', 'END { print $1 }', 'a.txt'), 'X')
    assert third.words == ('python', 'b.py', '--max=$X')
