# Accuracy against MACs in one search: the result is a front.
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(nsga2=dict(sampler=dict(type='OptunaSampler', name='NSGAIISampler'), budget=1000, population=50)),
    objectives=[dict(name='accuracy/top1'), dict(name='macs_m', direction='minimize')],
)
