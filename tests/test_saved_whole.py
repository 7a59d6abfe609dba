"""What is saved is whole: a save is all or nothing, and what cannot be saved is named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError, replay


def run_of(out, n=4, name="first"):
    lab = Lab(replay(pd.DataFrame({"v": range(n)}), rate=1), interval="1s" if n > 3 else "9s", name=name)
    lab.batch(lambda batch: out(batch) if callable(out) else out, name="out")
    return lab.run(clock="virtual", cost=0)


CANNOT = {
    "mixed": lambda b: pd.DataFrame({"n": 1, "odd": pd.Series([1, "x"], dtype=object)}),
    "interval": lambda b: b.groupby(pd.cut(b.v.rename("odd"), [0, 2, 4]), observed=True).size().rename("n"),
    "complex": lambda b: pd.DataFrame({"odd": [1 + 2j]}),
    "beyond 64 bits": lambda b: pd.DataFrame({"odd": pd.Series([2**70], dtype=object)}),
    "exceptions": lambda b: pd.DataFrame({"odd": [ValueError("x")]}),
    "half a character": lambda b: pd.DataFrame({"odd": pd.Series(["\ud800"], dtype=object)}),
}


@pytest.mark.parametrize("kind", CANNOT)
def test_what_cannot_be_saved_is_named_and_leaves_nothing_behind(kind, tmp_path):
    """S11: in one sentence, and the next save takes the folder."""
    folder = tmp_path / "kept"
    try:
        run_of(CANNOT[kind], n=3).save(folder)
    except SettingError as error:
        said = str(error)
        assert "run.output" in said and "'odd'" in said and "\n" not in said  # noqa: PT017, PT018
        assert list(tmp_path.iterdir()) == []
    else:
        assert len(mblab.load_run(folder).output)
    run_of({"n": 1}).save(folder)

    assert mblab.load_run(folder).name == "first"


def test_a_save_that_fails_leaves_the_run_that_stood_there(tmp_path):
    """S10: never the batches of one with the name of the other."""
    folder = tmp_path / "kept"
    run_of({"n": 1}).save(folder)
    with pytest.raises(SettingError, match="'v'"):
        run_of(pd.DataFrame({"v": [ValueError("x")]}), n=9, name="second").save(folder)
    kept = mblab.load_run(folder)

    assert (kept.name, kept.summary().batches, len(kept.batches)) == ("first", 4, 4)


def test_a_save_in_the_place_of_another_takes_all_of_it_and_nothing_else(tmp_path):
    """Files that somebody put beside a run stay."""
    folder = tmp_path / "kept"
    run_of({"n": 1}).save(folder)
    (folder / "notes.txt").write_text("mine")
    run_of({"n": 2}, n=9, name="second").save(folder)
    kept = mblab.load_run(folder)

    assert (kept.name, len(kept.batches)) == ("second", 9)
    assert (folder / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_save_that_cannot_take_its_place_loses_no_file_that_is_not_its_own(tmp_path, monkeypatch):
    """Whatever fails: the notes beside a run stay where they were."""
    folder, usual = tmp_path / "kept", Path.replace
    run_of({"n": 1}).save(folder)
    (folder / "notes.txt").write_text("mine")

    def fails(self, target):
        if (
            Path(target) == folder
            and self.name != "kept"
            and (self / "run.json").exists()
            and not (self / "notes.txt").exists()
        ):
            raise OSError(28, "No space left on device")
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(SettingError, match="No space left"):
        run_of({"n": 2}, n=9, name="second").save(folder)

    assert (folder / "notes.txt").read_text() == "mine"
    assert mblab.load_run(folder).name == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("text", ['{"mine": 1}', "[1, 2]", "no json", '"x"'])
def test_a_folder_with_somebody_else_s_run_json_is_left_alone(text, tmp_path):
    """B03: its name alone does not make it ours."""
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "run.json").write_text(text)
    with pytest.raises(SettingError, match="holds something else"):
        run_of({"n": 1}).save(folder)

    assert (folder / "run.json").read_text() == text


def test_a_link_in_the_folder_of_a_run_is_not_followed(tmp_path):
    """B03: what it points to is not ours."""
    folder, other = tmp_path / "kept", tmp_path / "other.parquet"
    run_of({"n": 1}).save(folder)
    other.write_bytes(b"mine")
    (folder / "batches.parquet").unlink()
    (folder / "batches.parquet").symlink_to(other)
    run_of({"n": 1}).save(folder)

    assert other.read_bytes() == b"mine"
    assert len(mblab.load_run(folder).batches) == 4


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "[]"),
        ("run.json", "[" * 200_000),
        ("run.json", '{"format": 4}'),
        ("run.json", None),
        ("batches.parquet", "no parquet"),
        ("records.parquet", None),
    ],
)
def test_a_damaged_run_is_refused_when_it_is_loaded(file, text, tmp_path):
    """B11: in one sentence, and not when something is asked of it later."""
    folder = run_of({"n": 1}).save(tmp_path / "kept")
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(SettingError) as caught:
        mblab.load_run(folder)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["summary", "provenance", "standing", "state", "controls"])
def test_a_run_json_without_a_part_is_refused_when_it_is_loaded(part, tmp_path):
    """B11: a part that is empty or gone."""
    folder = run_of({"n": 1}).save(tmp_path / "kept")
    about = json.loads((folder / "run.json").read_text())
    del about[part]
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(SettingError, match="cannot be read"):
        mblab.load_run(folder)


@pytest.mark.parametrize("frame", ["batches", "records", "output", "attempts"])
def test_a_frame_that_lacks_a_column_is_refused_when_it_is_loaded(frame, tmp_path):
    """B11: what is asked for later must be there."""
    folder = run_of({"n": 1}).save(tmp_path / "kept")
    file = folder / f"{frame}.parquet"
    rows = pd.read_parquet(file)
    rows.drop(columns=rows.columns[0]).to_parquet(file)
    with pytest.raises(SettingError, match=f"{frame}.parquet lacks"):
        mblab.load_run(folder)


def test_what_was_saved_comes_back(tmp_path):
    """The rows that waited too."""
    lab = Lab(replay(pd.DataFrame({"v": np.arange(60)}), rate=10), interval="1s", name="first")
    run = lab.run("4.5s", clock="virtual", cost=0)
    back = mblab.load_run(run.save(tmp_path / "kept"))

    pd.testing.assert_frame_equal(back.batches, run.batches)
    pd.testing.assert_frame_equal(back.records, run.records)
    assert back.waiting.tolist() == run.waiting.tolist()
    assert back.standing == run.standing
