"""The host of a webhook's URL, as people speak of it: lower case, with a port that is not the usual
one. Path and query may hold secrets; the host holds none."""

import idna

from .validators import DEFAULT_PORTS, HOST_LIMIT, parse_url

NO_HOST = "(URL not usable)"
LIMIT = HOST_LIMIT + len(":65535")


def host_of(url: str) -> str:
    """What a call of this URL says in its Host header; NO_HOST where there can be none."""
    try:
        return parse_url(url).authority
    except ValueError:
        return NO_HOST


def read_host(text: str) -> str:
    """A host as `host_of` says it, of one that somebody typed. Raises ValueError."""
    if len(text) > LIMIT or any(sign in text for sign in "/?#"):
        raise ValueError("no host")
    return parse_url(f"https://{text}").authority


def spellings(text: str) -> frozenset[str]:
    """How the URLs of a host may write it, in lower case: in letters of its own language or in
    ASCII, with the usual port or without. Raises ValueError."""
    plain = read_host(text)
    end = parse_url(f"https://{plain}")
    names = {plain.removesuffix(f":{end.port}"), _unicode(end.host)}
    usual = DEFAULT_PORTS.values()
    ports = ["", *(f":{port}" for port in usual)] if end.port in usual else [f":{end.port}"]
    return frozenset({text.lower(), *(name + port for name in names for port in ports)})


def _unicode(host: str) -> str:
    try:
        return idna.decode(host)
    except idna.IDNAError:
        return f"[{host}]" if ":" in host else host
