"""Cross-view geo-localization in JAX and Flax: find where a photo was taken."""
