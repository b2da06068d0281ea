"""Models: backbones, their supernets, one-shot training, necks. Importing this package registers them."""

from mmhybrid.models import backbones, mutators, necks, one_shot, supernets

__all__ = ['backbones', 'mutators', 'necks', 'one_shot', 'supernets']
