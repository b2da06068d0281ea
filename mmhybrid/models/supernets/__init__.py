"""Supernets."""

from mmhybrid.models.supernets.supernet import Supernet

__all__ = ['Supernet']
