"""The configuration: what files say, checked whole, and the parts assembled from it."""
