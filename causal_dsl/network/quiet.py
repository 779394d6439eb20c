"""Messages of libraries while a network is loaded: kept for the user, and not printed in between."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

#: The report of missing and unexpected weights, which is read as data; what a person's own settings of a network cause
#: and what changes no number.
_KNOWN = ("LOAD REPORT", "generation flags", "generation config", "deprecated", "Sliding Window Attention is enabled")


class _Ear(logging.Handler):
    def __init__(self, heard: list[str]):
        super().__init__(logging.WARNING)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Loading by transformers, in silence: gives a list that fills with the warnings that it would have printed.

    Progress bars are drawn to a terminal only.
    """
    from transformers.utils import logging as library

    heard: list[str] = []
    logger = logging.getLogger("transformers")
    before, bars, handlers = library.get_verbosity(), library.is_progress_bar_enabled(), list(logger.handlers)
    library.set_verbosity_warning()
    for handler in handlers:
        logger.removeHandler(handler)
    ear = _Ear(heard)
    logger.addHandler(ear)
    if not sys.stderr.isatty():
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield heard
    finally:
        heard.extend(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
        logger.removeHandler(ear)
        for handler in handlers:
            logger.addHandler(handler)
        library.set_verbosity(before)
        if bars:
            library.enable_progress_bar()


@contextmanager
def without_bars() -> Iterator[None]:
    """Code of the user that loads a network, without the progress bars of transformers: they would get into the lines of progress of a run."""
    from transformers.utils import logging as library

    before = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            library.enable_progress_bar()


def worth_telling(heard: list[str]) -> list[str]:
    """The distinct warnings that may bear on numbers, each in one line."""
    told = [" ".join(text.split())[:400] for text in heard if text.strip()]
    return [text for text in dict.fromkeys(told) if not any(known.lower() in text.lower() for known in _KNOWN)]
