"""Where figures of a fit wait until they are said. A module of its own, for its process imports nothing of Ray Train's."""


class Board:
    """Figures that were reported and not yet taken, oldest first."""

    def __init__(self) -> None:
        self._figures: list[dict[str, float]] = []

    def put(self, figures: dict[str, float]) -> None:
        self._figures.append(figures)

    def take(self) -> list[dict[str, float]]:
        taken, self._figures = self._figures, []
        return taken
