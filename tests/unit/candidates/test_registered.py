import re

import pytest

from recray.candidates.registered import chosen
from recray.errors import ConfigError
from recray.features.views import SOURCES
from recray.settings import SourceSettings


def test_sources_that_are_left_out_are_not_chosen() -> None:
    left = [name for name in SOURCES if name not in {"factors", "resume"}]
    assert chosen(SourceSettings(left_out=("resume", "factors"))) == left


@pytest.mark.parametrize("name", ["popular", "popularity"])
def test_what_is_no_source_and_the_last_fallback_cannot_be_left_out(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"sources.left_out names {name}; expected some of trending, ")):
        chosen(SourceSettings(left_out=(name,)))
