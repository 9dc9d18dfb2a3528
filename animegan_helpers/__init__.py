"""What the notebooks build, kept for the next one. Importing this package does nothing else."""

__version__ = "0.2.0"
