"""What a knob is, and the kinds of values that many of them take."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0)]
Scale = Literal["smoke", "laptop", "cluster"]


class Knobs(BaseModel):
    """Frozen, and refuses names it does not know, so that a typo is an error and not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
