"""What the upstream conformance programme certifies, as far as no real container is needed for it."""
