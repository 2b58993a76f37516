"""A task of one's own, tuned as one finds it advised."""

from base import *  # noqa: F403
