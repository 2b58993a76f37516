"""The figures, words and drawings of screens, for whatever shows them; nothing of the admin."""
