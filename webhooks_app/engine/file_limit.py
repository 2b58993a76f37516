"""How many files, sockets among them, this process may have open."""

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

ENOUGH = 65_536


def raise_limit() -> None:
    """As far as the system lets us, up to ENOUGH."""
    if resource is not None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if limit() < _bounded(hard):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_bounded(hard), hard))


def limit() -> int:
    if resource is None:
        return ENOUGH
    return _bounded(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _bounded(files: int) -> int:
    return ENOUGH if files == resource.RLIM_INFINITY else min(files, ENOUGH)
