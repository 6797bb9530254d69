"""The voice of each utterance: marks in the text, rule files, rows; and the remaining time."""

from pathlib import Path

import pytest

from client.batch.casting import Casting
from client.batch.dictionary import Dictionary
from client.batch.document import Chapter, plain_blocks
from client.batch.items import Item
from client.batch.plan import Defaults, SpeechDefaults, Utterance, plan
from client.batch.progress import Pace


def utterances(text: str, casting: Casting | None = None, title: str = "", voice: str | None = None) -> list[Utterance]:
    item = Item("x", plain_blocks(text), title, voice)
    [work] = plan([item], Defaults(SpeechDefaults(voice="narrator")), casting or Casting())
    return list(work.utterances)


def said(found: list[Utterance]) -> list[tuple[str | None, str]]:
    return [(each.manner.voice, each.text) for each in found]


def casting(path: Path, rules: str) -> Casting:
    (path / "rules.toml").write_text(rules, encoding="utf-8")
    return Casting.read(path / "rules.toml")


def test_a_voice_mark_lasts_until_the_next_one(tmp_path: Path) -> None:
    text = "One. [voice: Anna]Two.\n\nThree. [voice:anna(2)+bob] Four. [/voice]Five."
    assert said(utterances(text)) == [
        ("narrator", "One."),
        ("Anna", "Two."),
        ("Anna", "Three."),
        ("anna(2)+bob", "Four."),
        ("narrator", "Five."),
    ]


def test_a_pause_mark_is_silence_and_several_add_up() -> None:
    found = utterances("[pause:1s]One. [pause:500ms][pause:.25s] Two. [pause:99s]\n\nThree.")
    assert [(each.text, each.lead_s, each.pause_s) for each in found] == [
        ("One.", 1.0, 0.75),
        ("Two.", 0.0, 10.0),
        ("Three.", 0.0, 0.8),
    ]


def test_what_only_looks_like_a_mark_is_text() -> None:
    assert said(utterances("[pause] and [voice] and [pause:1]")) == [("narrator", "[pause] and [voice] and [pause:1]")]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('"Come in," she said. "It is cold."', ['"Come in,"', '"It is cold."']),
        ("“No!” he cried.", ["“No!”"]),
        ("« Oui, viens. » dit-il.", ["« Oui, viens. »"]),
        ("„Komm rein“, sagte sie.", ["„Komm rein“"]),
        ("„Komm doch endlich mal rein“, sagte sie.", ["„Komm doch endlich mal rein“"]),
        ("「行こう。」と言った。", ["「行こう。」"]),
        ("The so-called “house” of “The Times” fell.", []),
        ("“This goes on in the next paragraph.", ["“This goes on in the next paragraph."]),
        ('It is 5" wide and 6" high.', []),
    ],
)
def test_quoted_speech_has_its_own_voice_and_quoted_words_have_not(
    tmp_path: Path, text: str, quoted: list[str]
) -> None:
    rules = casting(tmp_path, '[dialogue]\nvoice = "nova"\n')
    found = utterances(text, rules)
    assert [words for voice, words in said(found) if voice == "nova"] == quoted
    assert "".join("".join(words for _, words in said(found)).split()) == "".join(text.split())


def test_people_and_chapters_have_voices_and_marks_have_names(tmp_path: Path) -> None:
    rules = casting(
        tmp_path,
        '[chapters]\n"epilogue" = "onyx"\n1 = "sage"\n[voices]\nanna = "voice_1"\n[dialogue]\nvoice = "nova"\n'
        '[dialogue.people]\nBob = "echo"\n',
    )
    text = "“I am here,” said Bob.\n\n“And so am I,” said Anna. [voice:Anna]Yes."
    assert said(utterances(text, rules, title="Epilogue")) == [
        ("echo", "“I am here,”"),
        ("onyx", "said Bob."),
        ("nova", "“And so am I,”"),
        ("onyx", "said Anna."),
        ("voice_1", "Yes."),
    ]
    assert utterances("One.", rules, title="Other")[0].manner.voice == "sage"  # the first one
    assert utterances("One.", rules, title="Epilogue", voice="row")[0].manner.voice == "row"


def test_terms_of_a_dictionary_are_whole_words_the_longest_first() -> None:
    words = Dictionary(
        {
            "": {"nginx": "engine x", "US": "U S", "US Navy": "U S nay vee", "東京": "とうきょう"},
            "de": {"nginx": "ännschin"},
        }
    )
    assert words.respell("Nginx, US and us: US Navy, nginxes") == "engine x, U S and us: U S nay vee, nginxes"
    assert words.respell("nginx", ("de",)) == "ännschin"
    assert words.respell("今日は東京へ") == "今日はとうきょうへ"
    assert Dictionary({}).respell("as it is") == "as it is"


def test_a_chapter_with_nothing_to_pronounce_is_silent_and_reported() -> None:
    [work] = plan([Item("x", Chapter("p", "", plain_blocks("* * *\n\n…")).blocks)], Defaults(), Casting())
    assert work.utterances == ()
    assert [each.text for each in work.skipped] == ["* * *", "…"]


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize("uneven", [1, 7])
def test_after_a_tenth_the_time_left_is_right_within_a_fifth(slots: int, uneven: int) -> None:
    now_s = 0.0
    widths = [100 + 37 * (number * uneven % 11) for number in range(400)]
    pace = Pace(sum(widths), lambda: now_s)
    waiting = list(reversed(widths))
    flying: list[tuple[float, int]] = []  # when each ends
    estimate: tuple[float, float] | None = None
    now_s = 5.0  # loading the model is not part of it
    while waiting or flying:
        while waiting and len(flying) < slots:
            width = waiting.pop()
            pace.began(width)
            flying.append((now_s + 0.3 + 0.01 * width, width))
        flying.sort()
        now_s, width = flying.pop(0)
        pace.ended(width)
        if estimate is None and pace.share >= 0.1:
            left_s = pace.remaining_s()
            assert left_s is not None
            estimate = (now_s, left_s)
    assert estimate is not None
    assert estimate[1] == pytest.approx(now_s - estimate[0], rel=0.2)
