# SPOS, as GLiT (section 4.1) and AutoViT's baseline (section 5.4) use it: 20 generations of 50.
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(
        evolution=dict(
            sampler=dict(type='Evolution', num_parents=10, mutate_prob=0.1),
            budget=1000,
            population=50,
        )
    ),
    objectives=[dict(name='accuracy/top1')],
)
