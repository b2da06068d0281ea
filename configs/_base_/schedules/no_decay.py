# No weight decay for norms, biases, tokens, position embeddings and layer scales; all schedules use this. The scale of
# GLNet's slots, which has no dimension, decays, as by the released rule of classification, which spares vectors.
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={key: dict(decay_mult=0.0) for key in ('cls_token', 'pos_embed', '.gamma')},
    ),
)
