"""Words for people: counts with their nouns, and the names that were meant."""

import pytest

from src.cli import STAGES, build_parser
from src.errors import OTHER_NAMES, counted, nearest


@pytest.mark.parametrize(
    ("n", "one", "many", "said"),
    [
        (1, "person", "", "1 person"),
        (0, "person", "", "0 people"),
        (2, "test person", "", "2 test people"),
        (1, "image", "", "1 image"),
        (3, "image", "", "3 images"),
        (1, "person has", "people have", "1 person has"),
        (2, "person has", "people have", "2 people have"),
        (2, "class", "classes", "2 classes"),
    ],
)
def test_a_count_agrees_with_its_noun(n, one, many, said):
    assert counted(n, one, many) == said


def test_a_well_known_other_name_is_found_where_letters_are_not_alike():
    assert nearest("learning-rate", ["lr", "dataset"]) == ["lr"]
    assert nearest("learning_rate", ["dataset"]) == []


def test_the_nearest_comes_first_and_case_does_not_matter():
    assert nearest("ResNet_18", ["simple", "resnet18", "resnet50"]) == ["resnet18"]
    assert nearest("resnet_18", ["resnet50", "resnet18"], most=2) == ["resnet18", "resnet50"]
    assert nearest("nothing", ["simple"]) == []


def test_every_other_name_leads_to_a_flag_or_a_mode_and_is_none_itself():
    flags = {action.dest for action in build_parser()._actions}
    known = flags | {*STAGES, "full"}
    assert set(OTHER_NAMES.values()) <= known
    assert not set(OTHER_NAMES) & known
