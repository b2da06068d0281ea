"""Models: backbones, their supernets, necks and heads. Importing this package registers them."""

from mmhybrid.models import backbones, necks, supernets

__all__ = ['backbones', 'necks', 'supernets']
