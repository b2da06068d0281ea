"""AutoViT-S on ImageNet-1k at 256 px, the DeiT recipe at batch 1024 without repeated augmentation.

Command: ``bash tools/dist_train.sh configs/autovit/autovit_s_in1k.py 8``
Source: AutoViT, Tables 2, 5 and 9.
Published: 79.2 % top-1, 6.3 M parameters, 1.3 G MACs, 27.9 ms on an iPhone 13 with CoreML.
The published network keeps the weights of its supernet, which for XXS was trained with hard distillation from
RegNetY-32G; for this size the paper does not say. Here it is trained alone. Table 9 gives it 1.4 G MACs.
"""

_base_ = [
    '../_base_/models/autovit_cls.py',
    '../_base_/datasets/imagenet_256.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]
