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
)
dense = dict(out_indices=(0, 1, 2, 3), head_conv=False)
channels = [16, 24, 56, 128]
cls_channels = 256
