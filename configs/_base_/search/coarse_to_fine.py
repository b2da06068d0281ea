# AutoViT, algorithm 2 and section 4.1. The paper gives neither the number of samples nor of skeletons, nor what ranks
# them: here the networks with the most MACs of those that the budgets allow, of each number of stages, depth and
# resolution the share that it has of these.
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(
        coarse=dict(
            sampler=dict(type='RandomSampler'),
            budget=5000,
            population=5000,
            rank_by=dict(name='macs_m'),
        ),
        fine=dict(
            sampler=dict(type='BlockEvolution', num_parents=10, depth_prob=0.2, block_prob=0.4),
            budget=1000,
            population=50,
            skeletons=dict(stage='coarse', count=50),
        ),
    ),
    objectives=[dict(name='accuracy/top1')],
    # "maximize classification accuracy while minimizing the model size": of equally accurate networks the smallest
    tie_breaks=[dict(name='params_m', direction='minimize')],
)
