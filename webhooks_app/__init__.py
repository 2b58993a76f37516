"""Outgoing webhooks for Django. A release sets its number here and nowhere else."""

__version__ = "0.1.0"
