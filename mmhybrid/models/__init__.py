"""Models: backbones, their supernets, necks and heads. Importing this package registers them."""

from mmhybrid.models import backbones, mutators, necks, one_shot, supernets

__all__ = ['backbones', 'mutators', 'necks', 'one_shot', 'supernets']
