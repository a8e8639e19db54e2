"""headwater: training data attribution for any PyTorch model."""
