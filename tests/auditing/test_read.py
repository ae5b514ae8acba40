"""An audit of a raw Kaggle folder knows people though a file lies there twice."""

from __future__ import annotations

from src.auditing.read import read_set


def test_a_copy_under_another_name_is_of_its_original_s_person(tmp_path):
    for number in range(1, 33):
        side, name = ("train", f"nonDem{number - 1}") if number < 27 else ("test", f"{number}")
        path = tmp_path / side / "NonDemented" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"slice {number:02d}".encode())
    copy = tmp_path / "train" / "NonDemented" / "27 - Copy.jpg"
    copy.write_bytes(b"slice 27")
    rows = read_set(tmp_path, "2d").rows.set_index("path")
    assert rows.loc["train/NonDemented/27 - Copy.jpg", ["subject", "known"]].tolist() == [
        "NonDemented_001",
        True,
    ]
    assert len(rows) == 33
    copy.write_bytes(b"slice 40")
    assert not read_set(tmp_path, "2d").rows["known"].any()
