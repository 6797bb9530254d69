"""Language by script, and the names clients use."""

import pytest

from openai_frontend.text.language import detect_language, parse_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天天气很好。", "chinese"),
        ("今日はいい天気ですね。", "japanese"),
        ("カタカナ", "japanese"),
        ("오늘 날씨가 좋네요.", "korean"),
        ("Сегодня хорошая погода.", "russian"),
        ("The word 你好 means hello.", "chinese"),
        ("Das Wetter ist schön.", "auto"),
        ("The weather is nice.", "auto"),
        ("123 🙂", "auto"),
        ("", "auto"),
    ],
)
def test_a_script_of_one_language_tells_it_and_a_shared_one_leaves_it_to_the_model(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("English", "english"),
        (" german ", "german"),
        ("Auto", "auto"),
        ("en", "english"),
        ("zh-CN", "chinese"),
        ("pt_BR", "portuguese"),
        ("Beijing dialect", "beijing_dialect"),
        ("klingon", None),
        ("", None),
    ],
)
def test_names_and_codes_of_languages_are_understood(name: str, language: str | None) -> None:
    assert parse_language(name) == language
