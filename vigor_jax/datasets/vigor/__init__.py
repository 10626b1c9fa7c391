"""VIGOR: street panoramas and aerial tiles of four cities (Zhu, Yang, Chen, CVPR 2021)."""
