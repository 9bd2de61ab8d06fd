"""Operations on image tensors and tile geometry."""
