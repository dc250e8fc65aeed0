"""data=text_folder: a folder a class, and what can be wrong with it."""

from pathlib import Path

import pytest

from shared.data import text
from shared.data.sequences import Sequences
from shared.data.text import Settings, TextData
from shared.errors import DataError

SETTINGS = Settings(vocabulary_size=50, min_frequency=1)


def write(root: Path, texts: dict[str, list[str]]) -> Path:
    for name, contents in texts.items():
        (root / name).mkdir(parents=True)
        for number, content in enumerate(contents):
            (root / name / f"{number:03}.txt").write_text(content)
    return root


def load(root: Path) -> TextData:
    return text.load_folder(root, SETTINGS, test_fraction=0.25)


def shown(data: TextData) -> dict[str, list[str]]:
    """Return the words of each document as `CLASS: words`, by split."""
    return {
        split: [
            f"{data.classes[label]}: {' '.join(data.decode(Sequences(documents, 9)[n : n + 1][0]))}"
            for n, label in enumerate(documents.labels)
        ]
        for split, documents in (("train", data.train), ("test", data.test))
    }


def test_folders_are_classes_and_a_quarter_is_kept_to_test(tmp_path: Path) -> None:
    texts = {"sea": [f"wave {n}" for n in range(8)], "city": [f"tram {n}" for n in range(4)]}
    data = load(write(tmp_path, texts))
    assert data.classes == ("city", "sea")
    assert (len(data.train), len(data.test)) == (9, 3)
    assert data.test.labels.tolist() == [0, 1, 1]
    both = shown(data)
    unknown = {line for line in both["test"] if "<unk>" in line}
    assert unknown, "the vocabulary is that of the training texts"
    assert not set(both["train"]) & set(both["test"])
    again = load(tmp_path)
    assert again.sha256 == data.sha256
    assert [path.name for path in tmp_path.glob("encoded-*")], "cached beside the texts"
    (tmp_path / "sea").rename(tmp_path / "town")
    renamed = load(tmp_path)
    assert (renamed.vocabulary, renamed.classes) == (data.vocabulary, ("city", "town"))
    assert renamed.sha256 != data.sha256, "what they are called is data too"


def test_a_given_split_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": ["x x"], "b": ["y"]})
    write(tmp_path / "test", {"b": ["y y"], "a": ["x"]})
    assert shown(load(tmp_path)) == {"train": ["a: x x", "b: y"], "test": ["a: x", "b: y y"]}


def test_a_changed_text_is_encoded_again(tmp_path: Path) -> None:
    write(tmp_path, {"a": ["x", "x x"], "b": ["y", "y y"]})
    before = load(tmp_path)
    (tmp_path / "b" / "000.txt").write_text("z")
    (tmp_path / "b" / "001.txt").write_text("z z")
    assert load(tmp_path).sha256 != before.sha256


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({}, "expected a folder for each of at least two classes.*found none"),
        ({"a": ["x", "y"]}, "expected a folder for each of at least two classes.*found a$"),
        ({"a": ["x", "y"], "b": []}, r"b: this class has no texts \(\.txt\)"),
        ({"a": ["x", "y"], "b": ["z"]}, "b: one file cannot be split"),
        (
            {"train/a": ["x"], "train/b": ["y"], "test/a": ["x"], "test/c": ["z"]},
            "test: the class c has no folder in .*train",
        ),
        ({"a": ["", " "], "b": ["", ""]}, "no word occurs 1 times in the training texts"),
    ],
)
def test_what_is_wrong_is_named(texts: dict[str, list[str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        load(write(tmp_path, texts))


def test_files_that_are_no_texts(tmp_path: Path) -> None:
    write(tmp_path, {"a": ["x", "y"], "b": ["z", "z"]})
    (tmp_path / "a" / "picture.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match=r"a/picture\.txt: not UTF-8"):
        load(tmp_path)
    (tmp_path / "a" / "picture.txt").unlink()
    (tmp_path / "a" / "folder.txt").mkdir()
    assert len(load(tmp_path).train) == 2, "a folder is not a text"
    with pytest.raises(DataError, match=r"nowhere: no such folder; set data\.root"):
        load(tmp_path / "nowhere")


def test_an_empty_text_is_one_unknown_word(tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": ["x", ""], "b": ["\ufeffz", "z"]})
    write(tmp_path / "test", {"a": ["x"], "b": ["", "z"]})
    data = load(tmp_path)
    assert shown(data)["train"] == ["a: x", "a: <unk>", "b: z", "b: z"]
    assert shown(data)["test"] == ["a: x", "b: <unk>", "b: z"]


def test_hidden_files_are_no_texts_and_every_class_keeps_one(tmp_path: Path) -> None:
    write(tmp_path, {"a": ["x", "y"], "b": ["z", "z"], ".hidden": ["h"]})
    (tmp_path / "a" / "._0.txt").write_bytes(b"\xff")
    data = text.load_folder(tmp_path, SETTINGS, test_fraction=0.9)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0, 1]
