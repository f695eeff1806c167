"""Parameter-efficient fine-tuning of vision foundation models on semantic correspondence."""

__version__ = "0.1.0"
