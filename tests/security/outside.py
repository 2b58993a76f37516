"""What reads text from outside, what such text may look like, and what reading it may cost."""

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from time import monotonic, process_time
from typing import Any

# Long runs of one sign or of a few, between ends that let no reading of them come out well: what
# makes a pattern try every way there is, a normaliser sort, a scanner begin anew.
UNITS = (
    *(" ", "\t", "\n", "\r\n", "a", "A", "0", "-", "_", ".", ":", "/", "\\", '"', "'", "=", "&"),
    *(";", ",", "[", "{", "(", "<", "%", "+", "@", "…", "ä", "\u0301", "\u0315\u0300", "\u202e"),
    *("\ufb01", "\ud83d\ude00", "\U0001f600", "1a", "a1", "a.", "1.", " .", "a ", "a=", ";a", '"a'),
    *('\\"', '\\\\"', "\\000", "\\u0000", "[]", "[1,", '{"a":', "%20", "%", "&lt;", "&#39;", "e9"),
    *(", job ", "xn--", "a,", "0x", "://", "?a", "q=1;", ";q=", "aaaaaaa ", "12345678 "),
)
ENDS = (("x", "y"), ('"', "\\"), ("[" * 65 + '"', ""), ("0", ""))


def texts(frame: str, size: int) -> Iterator[str]:
    """Adversarial texts of about `size` characters, put into `frame` where its `{}` stands."""
    before, _, after = frame.partition("{}")
    for unit, (start, end) in product(UNITS, ENDS):
        yield before + start + unit * (size // len(unit)) + end + after


@dataclass(frozen=True)
class Reader:
    """One place that text from outside comes to."""

    name: str
    read: Callable[[str], Any]
    frames: tuple[str, ...] = ("{}",)
    modules: tuple[str, ...] = ()  # of ours, whose regular expressions this tries
    every: int = 1  # of so many texts one is tried; of those that cost much by design
    base: float = 0.0  # seconds; what a reader costs that looks at a bounded part alone


# --- what it may cost ----------------------------------------------------------------------------

WORK = 200_000  # turns of a loop, some 10 ms where the budgets were set
REFERENCE = 0.0095  # seconds they took there
MARGIN = 5  # for a machine whose other core takes the memory away
FLOOR = 0.002  # seconds that anything may cost
ENOUGH = 5  # findings of one reader
A_CHARACTER = 0.2 / 2**20  # seconds: 1 MiB of anything costs 0.2 s at most


def machine() -> float:
    """How many times slower than the one where the budgets were set this machine is just now."""
    return _machine(int(monotonic() / 10))


@lru_cache(1)
def _machine(_now: int) -> float:
    return max(1.0, min(_work() for _ in range(3)) / REFERENCE)


def _work() -> float:
    began = process_time()
    found: dict[int, str] = {}
    for number in range(WORK):
        found[number & 255] = "x"
    return process_time() - began


def cost(read: Callable[[str], Any], text: str) -> float:
    """Seconds of CPU of all threads of this process."""
    gc.disable()  # what others left behind is not this one's cost
    began = process_time()
    with suppress(Exception):  # what it says of the text is for other tests
        read(text)
    took = process_time() - began
    gc.enable()
    return took


def too_dear(read: Callable[[str], Any], text: str, scale: float, base: float = 0.0) -> float:
    """Seconds that reading costs where that is past the budget, at its best of four; else 0.0."""
    budget = MARGIN * scale * (FLOOR + base + A_CHARACTER * len(text))
    best = float("inf")
    for tried in range(4):
        best = min(best, cost(read, text))
        if best <= budget:
            return 0.0
        if tried and best > 4 * budget:  # no busy machine makes that of it twice
            break
    return best


def findings(reader: Reader, size: int) -> list[str]:
    """What is too dear for `reader`, from short texts to those of `size` characters; a text that
    is too dear when it is short is not tried at its full length."""
    scale = machine()
    found = []
    for frame in reader.frames:
        dear: set[str] = set()
        at = 2048
        while True:
            for text in islice(texts(frame, at), 0, None, reader.every):
                shape = f"{text[:40]!r}…{text[-20:]!r}"
                if shape in dear:
                    continue
                if seconds := too_dear(reader.read, text, scale, reader.base):
                    dear.add(shape)
                    found.append(f"{reader.name}: {len(text)} of {shape}: {seconds:.3f} s")
                if len(found) == ENOUGH:
                    return found
            if at >= size:
                break
            at = min(at * 8, size)
    return found
