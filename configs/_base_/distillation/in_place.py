# For a supernet within another model: in each step its largest network teaches the smaller ones (sandwich rule), by
# outputs and by the maps of the neck.
taught_in_place = dict(
    mutator=dict(type='mmhybrid.SandwichMutator', num_random=1, seed=0),
    distillation=dict(alpha=0.5, features=dict(neck=1.0)),
)
