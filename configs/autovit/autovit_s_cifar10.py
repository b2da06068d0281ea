"""AutoViT-S fine-tuned on CIFAR-10 at 256 px, batch 512.

Command: ``bash tools/dist_train.sh configs/autovit/autovit_s_cifar10.py 8 --cfg-options load_from=CHECKPOINT``
Source: AutoViT, section 4.2 and Table 4; the paper gives no settings, these are ours.
Published: 98.8 % top-1.
CHECKPOINT is one of ``autovit_s_in1k.py``; its head, which has other classes, is not loaded.
"""

_base_ = [
    '../_base_/models/autovit_cls.py',
    '../_base_/datasets/cifar10_256.py',
    '../_base_/schedules/finetune_adamw_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(head=dict(num_classes=10))
