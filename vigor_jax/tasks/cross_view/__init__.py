"""Cross-view geo-localization: street panoramas and the aerial tiles that contain them."""
