"""Supernet of the union of the three spaces on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_union_hard-regnety_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.2: one supernet in place of three.
Published: 65.3 % top-1, 1.8 M parameters for the network found; the XXS supernet leads to 71.3 %.
The paper does not say whether this supernet was distilled; the 71.3 % that it is compared with was.
The paper does not name the teacher's weights. Of timm's that know ImageNet-1k alone, ``regnety_320.tv2_in1k`` come
nearest to the 83.6 % (83.2 % by timm's own list). Save them once:
``python -c "import timm, torch; torch.save(timm.create_model('regnety_320.tv2_in1k', pretrained=True).state_dict(),
'checkpoints/regnety_320.pth')"``
The teacher sees the images resized to 224 px, the size of its weights.
"""

_base_ = ['./supernet_autovit_union_in1k.py']

model = dict(
    teacher=dict(timm='regnety_320.tv2_in1k', checkpoint='checkpoints/regnety_320.pth'),
    distillation=dict(kind='hard', alpha=0.5),
)
