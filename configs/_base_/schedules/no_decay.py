# No weight decay for norms, biases, tokens, position embeddings, slot scales and layer scales; all schedules use this.
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={key: dict(decay_mult=0.0) for key in ('cls_token', 'pos_embed', 'slots.scale', '.gamma')},
    ),
)
