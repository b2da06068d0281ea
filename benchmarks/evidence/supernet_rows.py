"""The rows about supernets: what they begin as, how they rank networks, and what searches find in them."""

import random
from typing import Any

from evidence.claims import Arm, Row
from evidence.judges import Subnets
from evidence.latency import WithinLatency
from evidence.searches import Retrained, Search
from evidence.verdicts import Ordering, SameRanks
from mmhybrid.archs.base import plain_arch
from mmhybrid.space import SearchSpace
from mmhybrid.space.autovit import AutoViTSpace
from mmhybrid.space.glit import GLiTSpace
from mmhybrid.space.glnet import GLNetSpace


def _autovit_table(conv_widths: list[list[int]], widths: list[list[int]], num_heads: list[int]) -> dict[str, list[Any]]:
    return {
        'stem_widths': [16],
        'conv_widths': conv_widths,
        'conv_depths': [[1], [1, 2], [1, 2]],
        'widths': widths,
        'num_stages': [3],
        'num_heads': num_heads,
        'depths': [1, 2, 3],
        'resolutions': [64],
    }


# Their networks have .17 to .53, .41 to .97 and .71 to 1.71 M parameters.
_SMALL = _autovit_table([[16], [16, 24], [24, 32]], [[32, 48], [48, 64], [64, 80]], [2, 3])
_MIDDLE = _autovit_table([[16], [24, 32], [32, 48]], [[48, 64], [80, 96], [96, 112]], [3, 4])
_LARGE = _autovit_table([[16], [32, 48], [48, 64]], [[64, 80], [96, 128], [128, 144]], [4, 6])
_SMALL_ALONE, _UNION = AutoViTSpace(_SMALL), AutoViTSpace([_SMALL, _MIDDLE, _LARGE])
_PARAMS = {'params_m': {'max': 0.4}}
_MACS = {'macs_m': {'max': 11.0}}
_COARSE_TO_FINE = {
    'coarse': {
        'sampler': {'type': 'RandomSampler'},
        'budget': 500,
        'population': 500,
        'rank_by': {'name': 'macs_m'},
    },
    'fine': {
        'sampler': {'type': 'BlockEvolution', 'num_parents': 5, 'depth_prob': 0.2, 'block_prob': 0.4},
        'budget': 60,
        'population': 12,
        'skeletons': {'stage': 'coarse', 'count': 12},
    },
}
_THREE_SIZES = Subnets(('smallest', 'middle', 'largest'))
_GLNETS = GLNetSpace(
    widths=[[32], [64], [96], [128]],
    depths=[[1, 2], [1, 2], [1, 2, 3], [1, 2]],
    ffn_ratios=[1, 2, 4],
    local_kernels=[3, 5],
    num_slots=[9, 36],
    mixers=['local', 'mhsa', 'glmix'],
    overlapped_patches=[False],
    pos_encoding=[False],
    conv_ffn=[False],
)
_SIZES: dict[str, Any] = {'embed_dims': 72, 'num_heads': 3, 'num_blocks': 6}
_CANDIDATES = {'kernel_size': [5, 17, 31], 'mlp_ratio': [1, 2, 4]}
_GLITS = GLiTSpace(**_SIZES, candidates=_CANDIDATES)
_GLIT_HEADS = GLiTSpace(
    **_SIZES,
    level='distribution',
    candidates=_CANDIDATES,
    fixed={'mlp_ratio': 2, 'qkv_ratio': 1, 'conv_ratio': 2, 'kernel_size': 17},
)
_AUTOVITS = AutoViTSpace(
    {
        'stem_widths': [16],
        'conv_widths': [[16], [24], [32, 48]],
        'conv_depths': [[1, 2], [1, 2, 3], [1, 2, 3]],
        'widths': [[48, 64], [64, 80], [80]],
        'num_stages': [3],
        'num_heads': [2, 4],
        'depths': [1, 2, 3],
        'resolutions': [64],
    }
)


def _random_search(budget: int) -> dict[str, Any]:
    return {'random': {'sampler': {'type': 'RandomSampler'}, 'budget': budget, 'population': min(budget, 12)}}


def _evolution(budget: int) -> dict[str, Any]:
    sampler = {'type': 'Evolution', 'num_parents': 5, 'mutate_prob': 0.1}
    return {'evolution': {'sampler': sampler, 'budget': budget, 'population': 12}}


def _glit_search(space: SearchSpace, stages: dict[str, Any], hierarchical: bool = False) -> Arm:
    """The arm that trains three networks of a search alone, after 60 epochs for its supernets together."""
    judge = Retrained(stages, {'macs_m': {'max': 19.0}}, 3, 20, hierarchical)
    return Arm(_shared(space, 30 if hierarchical else 60), judge=judge, config='glit_supernet_64px.py')


def _shared(space: SearchSpace, epochs: int = 60) -> dict[str, Any]:
    """Options of a supernet of ``space``; by default it is trained for three times the epochs of a network alone."""
    settings = {f'model.architecture.backbone.space.{name}': value for name, value in space.to_config().items()}
    return {**settings, 'max_epochs': epochs}


def _start(name: str, network: str, alone: str, supernet: str) -> Row:
    """The row that compares two supernets around a network: one begins with its weights, the other at random."""
    return Row(
        name,
        'A supernet that begins as a trained network > one that begins from nothing, after as many epochs',
        'ours',
        supernet,
        {
            'from a network': Arm(judge=_THREE_SIZES, start=Arm(config=alone)),
            'from nothing': Arm(judge=_THREE_SIZES),
        },
        (Ordering('from a network', 'from nothing'),),
        'The score is the mean top-1 of the smallest, a middle and the largest subnet of a supernet around the '
        f'{network}. Both supernets are trained for 20 epochs; another 20 of the network alone are not counted.',
    )


def _ranks(family: str, space: SearchSpace, alone: str, supernet: str) -> Row:
    """The row that trains twelve random networks alone (config ``alone``) and scores them in one supernet."""
    rng, shared = random.Random(0), _shared(space)
    networks = [plain_arch(space.decode(space.sample(rng))) for _ in range(12)]
    if family == 'GLNet':  # whose config has a space around one network
        shared['model.architecture.backbone.space.around'] = None
    arms = {}
    for number, network in enumerate(networks, 1):
        arms[f'{number} alone'] = Arm({'model.backbone.arch': network}, config=alone)
        arms[f'{number} in the supernet'] = Arm(shared, judge=Subnets((network,)))
    names = range(1, len(networks) + 1)
    return Row(
        f'ranks-{family.lower()}',
        f'{family}: a supernet ranks networks as their own training does',
        'ours',
        supernet,
        arms,
        (SameRanks(tuple(f'{n} in the supernet' for n in names), tuple(f'{n} alone' for n in names)),),
        'Twelve networks are drawn from one space; each is trained alone for 20 epochs, the supernet for 60. The row '
        'has the ranges of their top-1 in the supernet (each with batch-norm statistics of its own) and alone, and '
        "Kendall's tau of the means over the seeds.",
        one_size=False,
        seeds=3,
    )


SUPERNET_ROWS = (
    _start('supernet-start', 'GLNet of `glmix-branches`', 'glnet_64px.py', 'glnet_supernet_64px.py'),
    _start(
        'supernet-start-autovit', 'AutoViT of `autovit-hybrid`', 'autovit_alone_64px.py', 'autovit_supernet_64px.py'
    ),
    _ranks('GLNet', _GLNETS, 'glnet_64px.py', 'glnet_supernet_64px.py'),
    _ranks('GLiT', _GLITS, 'glit_64px.py', 'glit_supernet_64px.py'),
    _ranks('AutoViT', _AUTOVITS, 'autovit_alone_64px.py', 'autovit_64px.py'),
    Row(
        'autovit-search',
        'AutoViT: coarse-to-fine >= evolution > random search, at equal evaluations',
        'AutoViT, Table 8',
        'autovit_64px.py',
        {
            name: Arm(_shared(_AUTOVITS), judge=Search(stages, _MACS))
            for name, stages in {
                'coarse-to-fine': _COARSE_TO_FINE,
                'evolution': _evolution(60),
                'random': _random_search(60),
                'unjudged': _random_search(1),
            }.items()
        },
        (
            Ordering('coarse-to-fine', 'evolution', 0.6),
            Ordering('evolution', 'random'),
            Ordering('evolution', 'unjudged', 3.9),
        ),
        'Each search takes the best of 60 networks with at most 11 M MACs (the middle of the space; the paper bounds '
        'latency) in the supernet of `ranks-autovit`. Half of the held-out images judge the search, the other half '
        'what it finds. "Unjudged" is one random network without any evaluation, as the random network of the paper, '
        'whose search took no time.',
    ),
    Row(
        'autovit-union',
        'AutoViT: a supernet of a size > one of three sizes together',
        'AutoViT, section 5.2',
        'autovit_64px.py',
        {
            'of its size': Arm(_shared(_SMALL_ALONE), judge=Search(_evolution(60), _PARAMS)),
            'of three sizes': Arm(_shared(_UNION), judge=Search(_evolution(60), _PARAMS)),
        },
        (Ordering('of its size', 'of three sizes', 6.0),),
        'Each search takes the best of 60 networks with at most .4 M parameters, which only networks of the smallest '
        'of the three spaces have; it is scored on images that the search has not seen. Each supernet is trained for '
        '60 epochs, so the union has a third as many for each size, while three supernets of one size have three times '
        'as many in all.',
        one_size=False,
    ),
    Row(
        'glit-search',
        'GLiT: hierarchical search > random > flat search',
        'GLiT, Table 5',
        'glit_supernet_64px.py',
        {
            'hierarchical': _glit_search(_GLIT_HEADS, _evolution(30), hierarchical=True),
            'random': _glit_search(_GLITS, _random_search(3)),
            'flat': _glit_search(_GLITS, _evolution(60)),
        },
        (Ordering('hierarchical', 'random', 3.0), Ordering('random', 'flat', 0.6)),
        'The score is that of the best of three networks (five in the paper) with at most 19 M MACs, each trained '
        'alone for 20 epochs. They are random ones, the best of 60 in one supernet (flat), or the best of 30 in each '
        'of two supernets with half the epochs (hierarchical). Half of the held-out images judge and choose, the other '
        'half tests. The candidates of a block share weights in all supernets.',
        one_size=False,
    ),
    Row(
        'latency-constraint',
        'GLiT: a latency constraint finds better networks than a MACs constraint, at equal measured latency',
        'ours',
        'glit_supernet_64px.py',
        {
            'latency constraint': Arm(
                _shared(_GLITS), judge=WithinLatency(_evolution(60), (('latency_ms', 0.5),), 0.5)
            ),
            'MACs constraint': Arm(
                _shared(_GLITS),
                judge=WithinLatency(_evolution(60), tuple(('macs_m', share) for share in (0.3, 0.5, 0.7)), 0.5),
            ),
        },
        (Ordering('latency constraint', 'MACs constraint'),),
        'The score is the mean of the best three networks, in the supernet of `ranks-glit`, whose measured latency is '
        'at most the median of the space (processor time of ONNX Runtime on one thread). The latency arm has one '
        'search with 60 evaluations, under that median as its latency table predicts it. The MACs arm has three such '
        'searches, under the 30, 50 and 70 % quantiles of the MACs, and the best networks of all three count, which '
        'favours it. Half of the held-out images judge the searches, the other half the networks that they find.',
        one_size=False,
    ),
)
