"""ImageNet: the photos of the ILSVRC 2012 classification task, in 1,000 classes."""
