"""From rows of shards to batches of tensors."""
