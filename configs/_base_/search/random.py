# A random search with as many evaluations as the other searches.
search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(random=dict(sampler=dict(type='RandomSampler'), budget=1000, population=50)),
    objectives=[dict(name='accuracy/top1')],
)
