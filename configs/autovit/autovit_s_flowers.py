"""AutoViT-S fine-tuned on Oxford Flowers at 256 px, batch 512.

Command: ``bash tools/dist_train.sh configs/autovit/autovit_s_flowers.py 8 --cfg-options load_from=CHECKPOINT``
Source: AutoViT, section 4.2 and Table 4; the paper gives no settings, these are ours.
Published: 98.1 % top-1.
CHECKPOINT is one of ``autovit_s_in1k.py``; its head, which has other classes, is not loaded.
The 100 epochs of so few images are 400 steps in all: ``--cfg-options train_cfg.max_epochs=1000`` gives more.
"""

_base_ = [
    '../_base_/models/autovit_cls.py',
    '../_base_/datasets/flowers_256.py',
    '../_base_/schedules/finetune_adamw_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(head=dict(num_classes=102))
