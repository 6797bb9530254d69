"""Language by script and by words, and the names clients use."""

import pytest

from openai_frontend.synthesis.language import detect_language, detect_script
from speech_protocol.languages import parse_language


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
    assert detect_script(text) == language


def test_a_foreign_name_in_a_long_text_does_not_change_its_language() -> None:
    assert detect_script("The river is called Волга in its own country. " * 10 + "The boat was slow. " * 60) == "auto"
    assert detect_script("这个广告の意思很明白,大家都看得懂,没有人会误会。" * 3) == "chinese"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The children are playing in the garden behind the house.", "english"),
        ("Könnten Sie mir bitte den Bericht bis morgen früh schicken?", "german"),
        ("I bambini giocano nel giardino dietro la casa con il cane.", "italian"),
        ("As crianças brincam no jardim atrás da casa com o cachorro.", "portuguese"),
        ("Los niños juegan en el jardín detrás de la casa con el perro.", "spanish"),
        ("Les enfants jouent dans le jardin derrière la maison.", "french"),
        ("Сегодня хорошая погода.", "russian"),
        ("오늘 날씨가 좋네요.", "korean"),
    ],
)
def test_a_text_of_some_length_tells_its_language(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "Bonjour",
        "Hello there.",
        "A casa é grande",
        "Tokyo, Berlin, Paris.",
        "GmbH & Co. KG",
        "Η μέρα είναι όμορφη και ο ήλιος λάμπει πάνω από τη θάλασσα.",
        "1234567890 " * 20,
        "",
    ],
)
def test_a_short_or_uncertain_text_is_left_to_the_model(text: str) -> None:
    assert detect_language(text) == "auto"


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
