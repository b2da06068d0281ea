"""The recipe by which networks of GLiT-Tiny's searches are retrained, and compared on images held out of training.

Command: ``bash tools/torchrun.sh --nproc-per-node 8 tools/retrain_topk.py configs/glit/search_glit_tiny_detail_in1k.py
--checkpoint CHECKPOINT --work-dir DIR --recipe configs/glit/retrain_glit_tiny_in1k.py --launcher pytorch``
Source: GLiT, sections 3.3 and 4.1: of five networks, retrained, the one with the highest validation accuracy.
Published: none on these images.
It is the recipe of ``glit_tiny_in1k.py`` without the images that ``tools/split_imagenet.py`` held out, which take the
place of ImageNet's validation set: that remains the test set, which no choice has seen.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_in1k.py']

train_dataloader = dict(dataset=dict(ann_file='meta/search_train.txt'))
val_dataloader = dict(dataset=dict(ann_file='meta/search_val.txt', data_prefix='train'))
