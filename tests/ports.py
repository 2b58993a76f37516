"""Ports for servers that are told which to take."""

import random
import socket
from contextlib import suppress

_reserved: list[socket.socket] = []


def free_port(in_a_row=1):
    """The first of so many free ports of 127.0.0.1. They lie below those that the system gives to
    connections: until the server has bound them nobody else gets them by chance. Nor does another
    test, of whichever process: as long as this one lives it has the same ports of UDP."""
    while True:
        port = random.randrange(20_000, 32_000)
        if all(map(reserve, range(port, port + in_a_row))):
            return port


def reserve(port):
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with suppress(OSError), socket.socket() as probe:
        reservation.bind(("127.0.0.1", port))
        probe.bind(("127.0.0.1", port))
        _reserved.append(reservation)
        return True
    reservation.close()
    return False
