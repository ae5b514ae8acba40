"""The registry: add once, get by name, propose the nearest."""

import pytest

from src.errors import UnknownNameError
from src.registry import Registry


@pytest.fixture
def registry():
    made = Registry("cohort")
    made.add("oasis", 1)
    made.add("phantom", 2)
    return made


def test_entries_are_found_by_name_in_order(registry):
    assert registry.get("phantom") == 2
    assert list(registry) == ["oasis", "phantom"]
    assert len(registry) == 2


def test_an_unknown_name_is_answered_with_the_nearest(registry):
    with pytest.raises(UnknownNameError, match="unknown cohort: 'osais'") as caught:
        registry.get("osais")
    assert caught.value.hint == "did you mean 'oasis'?"


def test_a_second_entry_of_a_name_is_refused(registry):
    with pytest.raises(KeyError, match="'oasis' is registered twice"):
        registry.add("oasis", 3)
    assert registry.get("oasis") == 1
