"""Outgoing webhooks for Django. A release sets its number here and nowhere else."""

__version__ = "0.2.0.dev0"
