"""The files of a checkpoint folder, as published or as saved by fine-tuning tools. No torch."""

import json
from pathlib import Path
from typing import Final

# Alternatives: all files of one of them are required. Messages name the first, the published form.
_Alternatives = tuple[tuple[str, ...], ...]

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
CODEC_FOLDER: Final = "speech_tokenizer"
_REQUIRED: Final[tuple[_Alternatives, ...]] = (
    (("config.json",),),
    (("generation_config.json",),),
    ((WEIGHTS,), (INDEX,)),
    (("preprocessor_config.json",),),
    (("tokenizer_config.json",),),
    (("vocab.json", "merges.txt"), ("tokenizer.json",)),
    ((f"{CODEC_FOLDER}/config.json",),),
    ((f"{CODEC_FOLDER}/{WEIGHTS}",), (f"{CODEC_FOLDER}/{INDEX}",)),
    ((f"{CODEC_FOLDER}/preprocessor_config.json",),),
)
# The files to download from a repository.
PATTERNS: Final = (
    *sorted({file for alternatives in _REQUIRED for files in alternatives for file in files}),
    "added_tokens.json",
    "*.safetensors",
)


def missing_files(folder: Path) -> list[str]:
    """The missing files of a folder. Raises ValueError or OSError if an index can't be read."""
    missing = []
    for alternatives in _REQUIRED:
        if not any(_has(folder, files) for files in alternatives):
            missing += [file for file in alternatives[0] if not (folder / file).is_file()]
    shards = (file for part in (folder, folder / CODEC_FOLDER) for file in tensor_files(part))
    missing += [str(file.relative_to(folder)) for file in shards if not file.is_file()]
    return list(dict.fromkeys(missing))


def tensor_files(folder: Path, prefix: str = "") -> list[Path]:
    """The files with the tensors whose names begin with `prefix`: one, or those listed in the folder's index."""
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS]
    cache_positions: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    names = sorted({file for name, file in cache_positions.items() if name.startswith(prefix)})
    if any(Path(name).name != name for name in names):
        raise ValueError(f"{INDEX} names a file outside its folder")
    return [folder / name for name in names]


def _has(folder: Path, files: tuple[str, ...]) -> bool:
    return all((folder / file).is_file() for file in files)
