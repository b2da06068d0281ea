# AutoViT, algorithm 2 and section 4.1. The paper gives neither the number of samples nor of skeletons, nor what ranks
# them: here the networks with the most MACs of those that the budgets allow.
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=[
        dict(
            name='coarse',
            sampler=dict(type='RandomSampler'),
            budget=5000,
            population=5000,
            rank_by=dict(name='macs_m'),
        ),
        dict(
            name='fine',
            sampler=dict(type='BlockEvolution', num_parents=10, depth_prob=0.2, block_prob=0.4),
            budget=1000,
            population=50,
            skeletons=dict(stage='coarse', count=50),
        ),
    ],
    objectives=[dict(name='accuracy/top1')],
)
