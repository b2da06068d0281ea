"""The rows of the table: each is a claim of a paper and the networks (arms) with which it is tried.

Where arms would differ in their number of parameters, their FFN ratios compensate for it. :data:`ELSEWHERE` has the
claims that other programs try.
"""

from typing import Any

from evidence.claims import Arm, Elsewhere, Row
from evidence.dense_rows import DENSE_ROWS
from evidence.judges import OtherSettings
from evidence.supernet_rows import SUPERNET_ROWS
from evidence.verdicts import NOT_REPRODUCED, REPRODUCED, Ordering


def _backbone(**fields: Any) -> dict[str, Any]:
    return {f'model.backbone.{name}': value for name, value in fields.items()}


def _glnet(width: int | None = None, **fields: Any) -> dict[str, Any]:
    """Fields of a GLNet's architecture; ``width`` is that of its last stage where it differs from the config's."""
    head = {} if width is None else {'model.head.in_channels': width}
    return {**_backbone(**{f'arch.{name}': value for name, value in fields.items()}), **head}


def _mixed(mixer: str) -> list[str]:
    """The mixers of the stages: ``mixer`` in the first three, attention over all pixels in the last, as published."""
    return [*[mixer] * 3, 'mhsa']


def _slots(count: int) -> list[int]:
    """Number of slots of each stage: ``count``, but no more than its map has pixels (the last stage has no slots)."""
    return [min(count, pixels) for pixels in (256, 64, 16)] + [count]


def _fewer_slots(*counts: int) -> Arm:
    """The network with both branches, trained with (64, 64, 16) slots and tested with ``counts``."""
    return Arm(judge=OtherSettings(_glnet(num_slots=[*counts, 64])))


def _glit(embed_dims: int, mlp_ratio: float, heads: list[int]) -> Arm:
    """A GLiT with as many blocks as ``heads``, which has the number of attention heads (of three) of each block."""
    attention, conv = {'qkv_ratio': 1}, {'conv_ratio': 2, 'kernel_size': 17}
    blocks = [
        {'num_attn_heads': count, 'mlp_ratio': mlp_ratio, **(attention if count else {}), **(conv if count < 3 else {})}
        for count in heads
    ]
    head = {'model.head.in_channels': embed_dims}
    return Arm({**_backbone(**{'arch.embed_dims': embed_dims, 'arch.blocks': blocks}), **head})


_BOTH = Arm()
_LOCAL = Arm(_glnet(mixers=_mixed('local'), ffn_ratios=[5.2] * 4))
_HYBRID = ['glmix', 'glmix', ['glmix', 'mhsa'], 'mhsa']
_OVERLAPPED = {'overlapped_patches': True}
_POSITION = {**_OVERLAPPED, 'pos_encoding': True}
_DEEPER = {
    **_POSITION,
    'embed_dims': [32, 64, 64, 96],
    'depths': [2, 2, 4, 2],
    'mixers': ['glmix', 'glmix', ['glmix', 'mhsa'] * 2, 'mhsa'],
}
_PUBLISHED_HEADS = [3, 0, 1, 3, 0, 1, 3, 1, 0, 3, 0, 3]

ROWS = (
    Row(
        'glmix-branches',
        'GLMix: local + global branch > local > global',
        'GLNet, Table 6',
        'glnet_64px.py',
        {
            'local + global': _BOTH,
            'local': _LOCAL,
            'global': Arm(_glnet(mixers=_mixed('global'), ffn_ratios=[4.7] * 4)),
        },
        (Ordering('local + global', 'local', 0.7), Ordering('local', 'global', 3.8)),
    ),
    Row(
        'glmix-order',
        'GLMix: branches in parallel > one behind the other, either way',
        'GLNet, Table 6',
        'glnet_64px.py',
        {
            'parallel': _BOTH,
            'global, then local': Arm(_glnet(mixers=_mixed('global-local'))),
            'local, then global': Arm(_glnet(mixers=_mixed('local-global'))),
        },
        (Ordering('parallel', 'global, then local', 1.9), Ordering('parallel', 'local, then global', 2.9)),
        'Where the sequential blocks have residual connections is our reading; the paper does not say it.',
    ),
    Row(
        'glmix-slots',
        'GLMix: 64 slots ~ 49 > 9',
        'GLNet, Table 6',
        'glnet_64px.py',
        {
            '64 slots': _BOTH,
            '49 slots': Arm(_glnet(num_slots=_slots(49))),
            '9 slots': Arm(_glnet(num_slots=_slots(9))),
        },
        (Ordering('64 slots', '49 slots', 0.2, about_equal=True), Ordering('49 slots', '9 slots', 0.4)),
        'A map has no more slots than pixels (256, 64, 16), so 64 and 49 slots differ in two of three stages only.',
    ),
    Row(
        'glmix-fewer-slots',
        'GLMix: slots can be dropped at inference without loss',
        'GLNet, section 5',
        'glnet_64px.py',
        {
            'all slots': _BOTH,
            '9 of 16': _fewer_slots(36, 36, 9),
            '4 of 16': _fewer_slots(16, 16, 4),
            '1 of 16': _fewer_slots(4, 4, 1),
        },
        tuple(Ordering('all slots', fewer, about_equal=True) for fewer in ('9 of 16', '4 of 16', '1 of 16')),
        'The paper proposes to prune redundant slots of each image and has no figures. Here one trained network pools '
        'each image into a coarser grid of slots, with the same share of them in each stage (16.8, 14.0, 12.2 and 11.2 '
        'M MACs).',
    ),
    Row(
        'glmix-start',
        'GLMix: pooled slots > learned slots; pooled > none',
        'GLNet, Table 6',
        'glnet_64px.py',
        {'pooled': _BOTH, 'learned': Arm(_glnet(learned_slots=True)), 'none': _LOCAL},
        (Ordering('pooled', 'learned', 0.4), Ordering('pooled', 'none', 0.7)),
        'The network without slots has the local branch alone.',
    ),
    Row(
        'glnet-steps',
        'GLNet: each step from STL to 4G helps',
        'GLNet, Table 7',
        'glnet_64px.py',
        {
            'STL': _BOTH,
            'overlapped patches': Arm(_glnet(**_OVERLAPPED, ffn_ratios=[2.7] * 4)),
            'hybrid stage 3': Arm(_glnet(**_OVERLAPPED, mixers=_HYBRID, ffn_ratios=[2.95] * 4)),
            'position encoding': Arm(_glnet(**_POSITION, mixers=_HYBRID, ffn_ratios=[2.9] * 4)),
            'deeper': Arm(_glnet(96, **_DEEPER, ffn_ratios=[3] * 4)),
            'convolutional FFN': Arm(_glnet(96, **_DEEPER, conv_ffn=True, ffn_ratios=[2.8] * 4)),
        },
        (
            Ordering('overlapped patches', 'STL', 0.2),
            Ordering('hybrid stage 3', 'overlapped patches', 0.4),
            Ordering('position encoding', 'hybrid stage 3', 0.1),
            Ordering('deeper', 'position encoding', 0.3),
            Ordering('convolutional FFN', 'deeper', 0.2),
        ),
        'The published steps change the number of parameters by up to 15 %; here FFN ratios compensate for that.',
    ),
    Row(
        'glit-heads',
        'GLiT: 1 attention + 2 convolution heads > 2 + 1 > 3 + 0 > 0 + 3',
        'GLiT, Table 1',
        'glit_64px.py',
        {
            '1 + 2': Arm(),
            '2 + 1': _glit(72, 4.43, [2] * 6),
            '3 + 0': _glit(72, 3.75, [3] * 6),
            '0 + 3': _glit(72, 2.47, [0] * 6),
        },
        (Ordering('1 + 2', '2 + 1', 1.09), Ordering('2 + 1', '3 + 0', 0.69), Ordering('3 + 0', '0 + 3', 1.18)),
        'The paper gives neither the kernel sizes nor the expansion ratios of its uniform networks.',
    ),
    Row(
        'glit-mixed',
        'GLiT: the searched distribution of heads > all attention, all convolution',
        'GLiT, Tables 1 and 4',
        'glit_64px.py',
        {
            'searched': _glit(48, 4, _PUBLISHED_HEADS),
            'attention': _glit(48, 4.43, [3] * 12),
            'convolution': _glit(48, 3, [0] * 12),
        },
        (Ordering('searched', 'attention', 3.2), Ordering('searched', 'convolution', 4.38)),
        'Twelve blocks with the published distribution of heads, which was searched at 224 px.',
    ),
    Row(
        'autovit-distillation',
        'AutoViT: hard distillation > soft > none',
        'AutoViT, Table 6',
        'autovit_64px.py',
        {
            'hard': Arm(distillation={'kind': 'hard', 'alpha': 0.5}),
            'soft': Arm(distillation={'kind': 'soft', 'alpha': 0.1, 'temperature': 3.0}),
            'none': Arm(),
        },
        (Ordering('hard', 'soft', 0.8), Ordering('soft', 'none', 5.9)),
        'The student is one network, not a supernet; the teacher is EfficientNet-Lite0 (RegNetY-32G in the paper).',
    ),
    Row(
        'autovit-hybrid',
        'AutoViT: hybrid > transformer-only at equal latency, and at equal size, where it is faster',
        'AutoViT, Table 7',
        'autovit_alone_64px.py',
        {
            'hybrid': Arm(),
            'transformer-only': Arm(config='autovit_transformer-only_64px.py'),
            'transformer-only, as large': Arm(
                {'model.backbone.arch.embed_dims': [64, 80, 96]}, config='autovit_transformer-only_64px.py'
            ),
        },
        (Ordering('hybrid', 'transformer-only'), Ordering('hybrid', 'transformer-only, as large')),
        'The paper compares latencies at equal accuracy (10.2 and 16.1 ms); here accuracies are compared at equal '
        'latency: processor time of ONNX Runtime 1.31.1 on one thread of an AMD EPYC beside other programs, over 150 '
        'interleaved rounds. The transformer-only network takes .99 (.96 to 1.01) times as long as the hybrid one '
        '(.43 ms), the one as large (437,418 parameters beside 442,522) 1.10 (1.08 to 1.12) times.',
        one_size=False,
    ),
    *SUPERNET_ROWS,
    *DENSE_ROWS,
)

ELSEWHERE = (
    Elsewhere(
        'GLMix scales with resolution',
        'GLNet, section 3',
        '[Cost by resolution](#cost-by-resolution)',
        (
            ('STL is linear in pixels to 1536 px', 'power .98 (.96 to 1.00)', REPRODUCED),
            ('4G is linear in pixels to 1536 px', 'power 1.53 (1.46 to 1.54)', NOT_REPRODUCED),
        ),
        'the power is the exponent by which time grew with the number of pixels from 1024 to 1536 px (1 is linear). '
        'Linear growth is reproduced if no interval between two consecutive sizes reaches 1.1, and not reproduced if '
        'one lies above 1.1.',
    ),
)
