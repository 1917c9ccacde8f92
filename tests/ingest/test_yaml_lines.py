from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from fangcuan.content.yaml_lines import MAX_BYTES, ContentError, explain, line_of, load, loads


def problems(text: str) -> list[str]:
    with pytest.raises(ContentError) as caught:
        loads(text)
    return [str(problem).removeprefix("<text>:") for problem in caught.value.problems]


def test_every_key_and_item_has_its_line():
    data, lines = loads("a: 1\nb:\n  - x\n  - c: yes\n    d: 2026-03-14\n")
    assert data == {"a": 1, "b": ["x", {"c": "yes", "d": "2026-03-14"}]}
    assert lines[("a",)] == 1
    assert lines[("b", 1, "d")] == 5
    assert line_of(lines, ("b", 1, "nothing", "there")) == 4


def test_only_true_false_and_null_are_special_words():
    data, _ = loads("a: no\nb: on\nc: 12:30\nd: 0o17\ne: true\nf: ~\ng: 007\nh: 1.5\ni: '1'\nj: 1_000\n")
    assert data == {
        "a": "no", "b": "on", "c": "12:30", "d": "0o17", "e": True, "f": None, "g": "007", "h": 1.5, "i": "1", "j": "1_000",
    }  # fmt: skip


def test_duplicate_keys_are_refused_with_both_lines():
    assert problems("a: 1\nb: 2\na: 3\n") == ["3: key 'a' stands twice (first in line 1); remove one"]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: &x 1\n", 1, "anchor"),
        ("a: 1\nb: *x\n", 2, "alias"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second YAML document"),
        ("a: [1, 2\n", 2, "not YAML"),
        ("? [a]\n: 1\n", 1, "not text"),
        ("a:\n\t- b\n", 2, "not YAML"),
    ],
)
def test_constructs_that_are_refused_name_their_line(text: str, line: int, word: str):
    first = problems(text)[0]
    assert first.startswith(f"{line}: ")
    assert word in first


def test_a_bomb_of_aliases_is_refused_without_expanding_it():
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert any("anchor" in problem for problem in problems(text))


def test_depth_and_size_are_bounded(tmp_path):
    assert "nested" in problems("[" * 5000 + "]" * 5000)[0]
    path = tmp_path / "big.yml"
    path.write_bytes(b"a: " + b"x" * MAX_BYTES)
    with pytest.raises(ContentError, match="at most"):
        load(path)


def test_wrong_encoding_and_missing_file_are_content_errors(tmp_path):
    path = tmp_path / "source.yml"
    path.write_bytes("a: 1\nb: 名称\n".encode("gb18030"))
    with pytest.raises(ContentError, match=r"source\.yml:2: not UTF-8"):
        load(path)
    with pytest.raises(ContentError, match="cannot be read"):
        load(tmp_path / "none.yml")


def test_pydantic_complaints_get_lines_and_a_suggestion():
    class Inner(BaseModel):
        model_config = ConfigDict(extra="forbid")
        minimum: float

    class Outer(BaseModel):
        model_config = ConfigDict(extra="forbid")
        items: tuple[Inner, ...]

    data, lines = loads("items:\n  - minimum: 1\n  - minimun: 2\n")
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(data)
    texts = [str(problem) for problem in explain(caught.value, __import__("pathlib").Path("f.yml"), lines, Outer)]
    assert "f.yml:3: key 'items.1.minimum' is missing; add it" in texts
    assert any(t.startswith("f.yml:3: unknown key 'items.1.minimun'") and "did you mean 'minimum'?" in t for t in texts)
