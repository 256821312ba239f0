"""Which failures exist, and which of them may degrade an answer instead of stopping it.

A message says what came, what was expected, and what to do. HTTP status codes are mapped in `serving/gateway.py` alone.
"""


class RecrayError(Exception):
    """Root of every error that recray raises on purpose."""


class ConfigError(RecrayError, ValueError):
    """Settings, a search space or an experiments file that cannot be used; stops the program."""


class DataError(RecrayError, ValueError):
    """A data set, lake or archive that is missing, corrupt or of another shape; stops the run."""


class ModelError(RecrayError, ValueError):
    """A model or bundle that is missing, truncated, altered or made for other feature views; stops the load."""


class NotFittedError(ModelError):
    """A part was asked before it was fitted or restored."""


class StageError(RecrayError, RuntimeError):
    """A stage of a request failed; the request goes on with the stage's declared fallback."""


class StoreError(StageError, ConnectionError):
    """The online store did not answer or refused; reads degrade, writes are not acknowledged."""


class RequestError(RecrayError, ValueError):
    """The caller's request cannot be answered as asked."""


class UnknownTitleError(RequestError, KeyError):
    """The request names a title that the catalogue does not hold."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class UnknownRecommendationError(RequestError, KeyError):
    """The request names a recommendation that was never made or whose record has expired."""

    __str__ = Exception.__str__
