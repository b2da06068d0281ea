"""Supernet of AutoViT-XXS without MBConv on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_transformer-only_hard-regnety_in1k.py 8``,
after ``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, section 5.3 and Table 7: a strided convolution in place of each MBConv stage.
Published: 71.2 % top-1 and 16.1 ms on an iPhone 13 with CoreML for the network found; hybrid 71.3 % and 10.2 ms.
The paper does not say whether this supernet was distilled; the 71.3 % that it is compared with was.
The paper does not name the teacher's weights. Of timm's that know ImageNet-1k alone, ``regnety_320.tv2_in1k`` come
nearest to the 83.6 % (83.2 % by timm's own list). Save them once:
``python -c "import timm, torch; torch.save(timm.create_model('regnety_320.tv2_in1k', pretrained=True).state_dict(),
'checkpoints/regnety_320.pth')"``
The teacher sees the images resized to 224 px, the size of its weights.
The latencies of the table are not reproduced: this twin of the hybrid is faster on a CPU (14.8 instead of 16.2 ms for
XXS), for which docs/reproduce.md gives the reason. The paper does not describe its transformer-only
network.
"""

_base_ = ['./supernet_autovit_xxs_transformer-only_in1k.py']

model = dict(
    teacher=dict(timm='regnety_320.tv2_in1k', checkpoint='checkpoints/regnety_320.pth'),
    distillation=dict(kind='hard', alpha=0.5),
)
