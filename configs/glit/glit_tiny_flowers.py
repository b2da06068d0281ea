"""GLiT-Tiny fine-tuned on Oxford Flowers at 256 px, batch 512.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_flowers.py 8 --cfg-options load_from=CHECKPOINT``
Source: ours, the settings of ``configs/autovit/autovit_s_flowers.py``; the paper transfers to no other classes.
Published: none.
CHECKPOINT is one of ``glit_tiny_in1k.py``, or a released one converted by ``tools/convert_checkpoint.py``; its head,
which has other classes, is not loaded, and its position embedding is resized.
The 100 epochs of so few images are 400 steps in all: ``--cfg-options train_cfg.max_epochs=1000`` gives more.
"""

_base_ = [
    '../_base_/models/glit_cls.py',
    '../_base_/datasets/flowers_256.py',
    '../_base_/schedules/finetune_adamw_100e.py',
    '../_base_/runtime/cls.py',
]

model = dict(backbone=dict(img_size=256), head=dict(num_classes=102))
