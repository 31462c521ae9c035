"""The universal experiment: a synthesizer for networks of any architecture, trained on architectures that are drawn."""
