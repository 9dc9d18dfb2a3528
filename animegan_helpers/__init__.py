"""What the notebooks build, kept for the next one. Importing this does nothing else."""

__version__ = "0.1.0"
