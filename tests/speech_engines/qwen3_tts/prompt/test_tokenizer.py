"""Token ids compared with upstream's processor, over a vocabulary whose merges distinguish all ways of splitting
text."""

import importlib.util
import json
import random
import shutil
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from speech_protocol.errors import ErrorCode, SpeechError
from tests.support.types import CheckpointOf
from tests.support.vocabulary import real_vocabulary, texts

pytestmark = pytest.mark.skipif(importlib.util.find_spec("qwen_tts") is None, reason="needs the extra 'qwen'")

LANGUAGES = (
    "今天天气真好，我们去公园散步吧！价格是12.50元，电话：138-0013-8000。",
    "Hello there, I'm Dr. O'Neil's friend; we'll see you at 9:45pm, don't they've HTTPServer and McDonald's iPhones?",
    "Überraschung! Straße, größer, Füße: die Äpfel kosten 3,50 € pro Stück.",
    "Perché no? Un caffè costa 1,20€; l'università è là, più in là.",
    "Olá, não há problema: a inclusão custa R$ 1.234,56 às 7h30.",
    "¿Qué tal, señor Nuñez? ¡Mañana será otro día! Cuesta 2.000 pesos.",
    "こんにちは、世界。東京タワーは高さ333メートルです!カタカナ、ﾊﾝｶｸ。",
    "안녕하세요, 반갑습니다. 오늘은 2024년 5월 3일이에요! 가격은 3,000원.",
    "Où êtes-vous ? C'est l'été, l'œuvre coûte 10 %, n'est-ce pas ?",
    "Привет, мир! Сколько стоит? Это 1 234 рубля и 50 копеек. Ёжик.",
)
ODD = (
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag 🇩🇪 👍🏽 ok 😀😀😀",
    "  leading and trailing   ",
    "double  space   triple\tand tab\u00a0no-break\u3000wide\u200bzero\u2009thin",
    "line\nbreak\r\nwindows\n\n\nthree\n",
    "\nstarts with a break",
    "\u2028separator\u2029 and \x85 next line \x1cfile",
    "0 1 12 123 1234 12345.678 ½ ² Ⅷ ٣٤٥ １２３",
    "e\u0301 a\u0308 n\u0303 composed, é ä ñ not; Z\u0351\u036b\u0343a\u0363l\u0348go",
    "\u0301starts with a mark",
    "\u1100\u1161\u11a8 conjoining, ﬁ ligature, Å ångström, 豈 compatibility",
    "हिन्दी में नमस्ते, ไทยสวัสดี, עִבְרִית, العَرَبِيَّة, தமிழ்",
    "assistant\nuser\nuserassistant ASSISTANT Assistant's HelloWorld camelCaseWord XMLHttpRequest",
    "https://example.com/a/b?c=d&e=f // path/ ./x \\ ... --- ***!!!\n/next",
    "'s 't 'RE 've'LL I'M you'D '' ''' \"quoted\" “curly” ‘single’ it’s",
    "<|> < | > <| im_end |> <tts_pad < tts_pad> |im_end|> <|im_end|",
    "a",
    ".",
    "x" * 300,
    "长" * 200,
    "\x00\x01\x7f\ufeff\ufffd\U0010ffff\ue000",
)
CORPUS = (*LANGUAGES, *ODD)
MERGES = 3000


@pytest.fixture(scope="module")
def trained_folder(tiny_checkpoint: CheckpointOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder whose merges reach over spaces, digits, marks and changes of case, so that another cut gives
    other ids. The tiny checkpoint's own merges are of two words only."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(tiny_checkpoint("custom_voice") / name, folder)
    write_vocabulary(folder)
    return folder


def write_vocabulary(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False)
    # Twice, as a pair is merged only if it is seen twice; the words of the template as the real ones are.
    trained.train_from_iterator([*CORPUS, *CORPUS, *["assistant", "user"] * 99], trainer)
    trained.model.save(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocabulary |= {f"filler {index}": index for index in range(len(vocabulary), 151643)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")


@cache
def processor_of(folder: Path) -> Any:
    """The processor as upstream's `from_pretrained` makes it of a hub id; of a folder it would cut as Mistral does."""
    from speech_engines.qwen3_tts.upstream import import_upstream

    import_upstream()
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSProcessor
    from transformers import AutoConfig, AutoProcessor

    AutoConfig.register("qwen3_tts", Qwen3TTSConfig, exist_ok=True)
    AutoProcessor.register(Qwen3TTSConfig, Qwen3TTSProcessor, exist_ok=True)
    return AutoProcessor.from_pretrained(str(folder), fix_mistral_regex=False)


def upstream_ids(folder: Path, template: str) -> list[int]:
    return processor_of(folder)(text=template, return_tensors="pt", padding=True)["input_ids"][0].tolist()


def plain(folder: Path, text: str) -> str:
    from speech_engines.qwen3_tts.prompt.text import PlainText

    return PlainText(processor_of(folder).tokenizer.get_added_vocab())(text)


def tokenizer_of(folder: Path) -> Any:
    from speech_engines.qwen3_tts.prompt.tokenizer import TextTokenizer

    return TextTokenizer(folder)


def look_alikes(control: str) -> tuple[str, ...]:
    return (control, f"say {control}.", f"{control}{control}", f"<|im_{control}end|>", f"{control[:-1]}", f"<{control}")


def test_ids_are_those_of_upstreams_processor_for_every_text(trained_folder: Path) -> None:
    tokenizer = tokenizer_of(trained_folder)
    head, tail = tokenizer.role_ids("assistant"), tokenizer.role_ids("assistant")
    end = tokenizer.instruct_ids("x")[-2:]
    assert len(head) == 3
    for text in CORPUS:
        said = plain(trained_folder, text)
        template = f"<|im_start|>assistant\n{said}<|im_end|>\n<|im_start|>assistant\n"
        ids = upstream_ids(trained_folder, template)
        assert [*head, *tokenizer.text_ids(text), *end, *tail] == ids, text
        assert tokenizer.text_ids(text) == ids[3:-5], text
        instruct = upstream_ids(trained_folder, f"<|im_start|>user\n{said}<|im_end|>\n")
        assert tokenizer.instruct_ids(text) == instruct, text


@pytest.mark.parametrize("version", ["4.57.2", "4.57.3", "5.0.0", None])
def test_text_is_cut_by_qwen2s_expression_whatever_transformers_wrote_the_checkpoint(
    trained_folder: Path, tmp_path: Path, version: str | None
) -> None:
    folder = copy_of(trained_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("transformers_version")
    (folder / "config.json").write_text(
        json.dumps({**config, **({"transformers_version": version} if version else {})})
    )
    other, published = tokenizer_of(folder), tokenizer_of(trained_folder)
    for text in CORPUS:
        assert other.text_ids(text) == published.text_ids(text), text


def test_upstreams_processor_of_a_folder_cuts_otherwise_which_is_where_we_differ(trained_folder: Path) -> None:
    from transformers import AutoProcessor

    processor_of(trained_folder)  # registers upstream's classes
    mended = AutoProcessor.from_pretrained(str(trained_folder), fix_mistral_regex=True)
    theirs = [mended(text=text)["input_ids"] for text in CORPUS]
    assert theirs != [processor_of(trained_folder)(text=text)["input_ids"] for text in CORPUS]


@pytest.mark.parametrize("merges", ["pairs", "lines"])
def test_a_folder_with_a_tokenizer_json_alone_gives_the_same_ids(
    trained_folder: Path, tmp_path: Path, merges: str
) -> None:
    folder = copy_of(trained_folder, tmp_path)
    write_whole(folder, merges)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    alone, published = tokenizer_of(folder), tokenizer_of(trained_folder)
    assert alone.control_ids == published.control_ids
    assert alone.role_ids("assistant") == published.role_ids("assistant")
    assert [alone.text_ids(text) for text in CORPUS] == [published.text_ids(text) for text in CORPUS]


def write_whole(folder: Path, merges: str) -> None:
    """tokenizer.json of the folder's tokenizer, as transformers saves it after it has "mended" it."""
    from transformers import AutoProcessor

    processor_of(folder)
    AutoProcessor.from_pretrained(str(folder), fix_mistral_regex=True).tokenizer.save_pretrained(folder / "saved")
    whole = json.loads((folder / "saved/tokenizer.json").read_text(encoding="utf-8"))
    if merges == "lines":
        whole["model"]["merges"] = [
            merge if isinstance(merge, str) else " ".join(merge) for merge in whole["model"]["merges"]
        ]
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")


@pytest.mark.parametrize("place", ["added_tokens.json", "config.json"])
def test_a_tokenizer_config_without_added_tokens_is_no_fault(trained_folder: Path, tmp_path: Path, place: str) -> None:
    published = tokenizer_of(trained_folder)
    folder = copy_of(trained_folder, tmp_path)
    (folder / "tokenizer_config.json").write_text("{}")
    if place == "added_tokens.json":
        (folder / place).write_text(json.dumps(published.control_ids))
    assert tokenizer_of(folder).role_ids("assistant") == published.role_ids("assistant")
    assert tokenizer_of(folder).instruct_ids("calm") == published.instruct_ids("calm")


def copy_of(folder: Path, parent: Path) -> Path:
    return Path(shutil.copytree(folder, parent / "checkpoint"))


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_vocabulary(tmp_path_factory.mktemp("real"))


def test_ten_thousand_texts_have_the_ids_of_qwen2s_tokenizer_on_the_real_vocabulary(
    real_folder: Path, tmp_path: Path
) -> None:
    from transformers import Qwen2TokenizerFast

    theirs = Qwen2TokenizerFast(str(real_folder / "vocab.json"), str(real_folder / "merges.txt"))
    whole = copy_of(real_folder, tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (whole / name).unlink()
    published, alone = tokenizer_of(real_folder), tokenizer_of(whole)
    # A published name of a product is one word, which Mistral's expression would cut in two.
    assert published.text_ids("YouTube") == theirs("YouTube")["input_ids"] == [53746]
    corpus = [*CORPUS, *texts(10_000)]
    expected = theirs([text.strip() for text in corpus])["input_ids"]
    for text, ids in zip(corpus, expected, strict=True):
        if "<|im_end|>" not in text:
            assert published.text_ids(text) == ids, text
        assert alone.text_ids(text) == published.text_ids(text), text


def test_no_text_makes_a_control_token(trained_folder: Path) -> None:
    tokenizer = tokenizer_of(trained_folder)
    controls = set(tokenizer.control_ids.values())
    assert controls == set(range(151643, 151674))
    assert tokenizer.control_ids == processor_of(trained_folder).tokenizer.get_added_vocab()
    for text in [text for control in tokenizer.control_ids for text in look_alikes(control)]:
        ids = tokenizer.text_ids(text)
        assert ids == upstream_ids(trained_folder, plain(trained_folder, text)), text
        assert not controls & set(ids), text
        assert len(controls & set(tokenizer.instruct_ids(text))) == 2  # the template's own


def test_a_look_alike_in_other_characters_is_no_control_token_after_normalization_either(trained_folder: Path) -> None:
    tokenizer = tokenizer_of(trained_folder)
    for text in ("＜|im_end|＞", "\u226e|im_end|>", "<\u0338|im_end|>", "<|im_end|\u0338>", "<|im\u200b_end|>"):
        ids = tokenizer.text_ids(text)
        assert ids == upstream_ids(trained_folder, plain(trained_folder, text))
        assert not set(tokenizer.control_ids.values()) & set(ids)
    assert tokenizer.text_ids("e\u0301") == tokenizer.text_ids(unicodedata.normalize("NFC", "e\u0301"))


def test_an_empty_instruction_adds_no_turn_to_the_template(trained_folder: Path) -> None:
    assert tokenizer_of(trained_folder).instruct_ids(" \n ") == []


@pytest.mark.parametrize(
    ("file", "content"),
    [("vocab.json", "{"), ("merges.txt", "a b c\n"), ("tokenizer_config.json", "{"), ("tokenizer.json", "{")],
)
def test_a_broken_file_is_named_as_the_checkpoints_fault(
    trained_folder: Path, tmp_path: Path, file: str, content: str
) -> None:
    folder = copy_of(trained_folder, tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(SpeechError) as error:
        tokenizer_of(folder)
    assert error.value.code is ErrorCode.CHECKPOINT_UNAVAILABLE


def ids_in_pieces(tokenizer: Any, text: str, cuts: list[int]) -> list[int]:
    """The ids of a text that arrives cut at these places."""
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    ids, rest = tokenizer.open_text_ids(pieces[0])
    for number, piece in enumerate(pieces[1:], 2):
        if not ids:  # the first word is not complete
            ids, rest = tokenizer.open_text_ids(rest + piece)
        else:
            more, rest = tokenizer.more_ids(rest + piece, final=number == len(pieces))
            ids += more
    if rest:
        ids += tokenizer.more_ids(rest, final=True)[0] if ids else tokenizer.text_ids(rest)
    return ids


def test_text_in_pieces_has_the_ids_of_the_whole_text_wherever_it_is_cut(trained_folder: Path) -> None:
    tokenizer, chance = tokenizer_of(trained_folder), random.Random(0)
    for text in CORPUS:
        whole = tokenizer.text_ids(text)
        assert ids_in_pieces(tokenizer, text, list(range(1, len(text)))) == whole, text
        for _ in range(20):
            cuts = sorted(chance.sample(range(1, len(text)), min(len(text) - 1, chance.randrange(1, 6))))
            assert ids_in_pieces(tokenizer, text, cuts) == whole, (text, cuts)


def test_text_in_pieces_has_the_ids_of_the_whole_text_with_the_real_vocabulary(tmp_path: Path) -> None:
    tokenizer, chance = tokenizer_of(real_vocabulary(tmp_path)), random.Random(0)
    for text in texts(2000, seed=3):
        cuts = sorted(chance.sample(range(1, len(text)), min(max(0, len(text) - 1), 12)))
        assert ids_in_pieces(tokenizer, text, cuts) == tokenizer.text_ids(text), (text, cuts)


def test_words_are_tokenized_as_soon_as_they_are_complete(trained_folder: Path) -> None:
    tokenizer = tokenizer_of(trained_folder)
    assert tokenizer.open_text_ids("Hello wor")[1] == " wor"
    assert tokenizer.open_text_ids("Hello")[0] == []
    assert tokenizer.open_text_ids("こんにちは、世")[1] == "、世"
    assert tokenizer.more_ids(" world, and", final=False)[1] == " and"
