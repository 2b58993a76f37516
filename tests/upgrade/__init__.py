"""Databases of released versions, and what becomes of them under the present code."""
