"""A tour."""

from __future__ import annotations


class Tour:
    """All of it."""
