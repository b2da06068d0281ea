# The search of a small GLiT for each stage of its hierarchy: three generations of eight.
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(evolution=dict(sampler=dict(type='Evolution', num_parents=4), budget=24, population=8)),
    objectives=[dict(name='accuracy/top1')],
    constraints=dict(macs_m=dict(max=24.0)),
    input_size=96,
)
