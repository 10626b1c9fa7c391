"""Groceries photographed in shops with a phone (Klasson et al., WACV 2019), 128 x 128 pixels."""
