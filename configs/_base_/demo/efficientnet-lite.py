# An EfficientNet-Lite half as wide as Lite0, without the repeated blocks of its early stages.
backbone = dict(
    type='mmhybrid.EfficientNetLite',
    arch=dict(
        stem_width=16,
        embed_dims=[8, 16, 24, 40, 56, 96, 128],
        depths=[1, 1, 1, 2, 2, 2, 1],
        kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        expand_ratios=[1, 4, 4, 4, 4, 4, 4],
        head_width=256,
    ),
    drop_path_rate=0.05,
    # the published momentum of 0.01 averages over more steps than the demo trains
    norm_cfg=dict(type='BN', eps=1e-3, momentum=0.1),
)
dense = dict(out_indices=(0, 1, 2, 3), head_conv=False)
channels = [16, 24, 56, 128]
cls_channels = 256
