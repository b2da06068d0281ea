"""A small GLiT on Imagenette at 64 px: 6 blocks with one attention head and two convolution heads each.

Command: ``python benchmarks/evidence/run.py glit-heads``
Source: ours, for rows of GLiT's Table 1.
Published: none.
Patches of 8 px give 64 tokens beside the class token, a third of the paper's; kernel and expansion are smaller too.
"""

_base_ = ['./_base_/imagenette_64.py', '../../../configs/_base_/models/glit_cls.py']

block = dict(num_attn_heads=1, qkv_ratio=1, conv_ratio=2, kernel_size=17, mlp_ratio=4)
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=72, num_heads=3, blocks=[block] * 6),
        img_size=64,
        patch_size=8,
        drop_path_rate=0.05,
    ),
    head=dict(num_classes=10, in_channels=72, topk=(1,)),
    train_cfg=dict(_delete_=True, augments=dict(type='Mixup', alpha=0.2)),
)
