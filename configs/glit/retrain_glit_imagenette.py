"""The recipe by which networks of GLiT's searches on Imagenette are retrained, and compared on images held out.

Command: ``python tools/retrain_topk.py configs/glit/search_glit_detail_imagenette.py --checkpoint CHECKPOINT
--work-dir DIR --recipe configs/glit/retrain_glit_imagenette.py``
Source: ours, a quick check on real photographs; see docs/results.md for what it reaches.
Published: none.
"""

_base_ = [
    '../_base_/models/glit_cls.py',
    '../_base_/datasets/imagenette_search_160.py',
    '../_base_/schedules/imagenette_adamw_20e.py',
    '../_base_/runtime/cls.py',
]

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=96,
            num_heads=3,
            blocks=[
                dict(num_attn_heads=0, conv_ratio=4, kernel_size=31, mlp_ratio=4),
                dict(num_attn_heads=1, qkv_ratio=1, conv_ratio=4, kernel_size=31, mlp_ratio=4),
                dict(num_attn_heads=1, qkv_ratio=1, conv_ratio=4, kernel_size=31, mlp_ratio=4),
                dict(num_attn_heads=2, qkv_ratio=1, conv_ratio=4, kernel_size=31, mlp_ratio=4),
            ],
        ),
        img_size=160,
        patch_size=20,
        drop_path_rate=0.05,
    ),
    head=dict(num_classes=10, in_channels=96),
    train_cfg=dict(_delete_=True, augments=dict(type='Mixup', alpha=0.2)),
)
