"""One run: resolves voices, synthesizes utterances, and writes files at the same time."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import soundfile
from rich.console import Console

from speech_protocol.models import HIBARI

from .assembly import Assembler, Outcome, Part, Target
from .dictionary import Dictionary
from .encoding import Tags
from .failures import InputError, RefusedError, UnreachableError
from .items import Source
from .overlays import About, write_overlays
from .plan import SpeechDefaults, Work
from .progress import Display
from .store import Store
from .synthesis import BatchSynthesizer
from .voices import Job, Resolver, Voice, make_job

# ISO 639-2 codes, as used in MP4 files, of the most frequent languages of books.
_CODES: Final = """
ar:ara bg:bul ca:cat cs:ces da:dan de:deu el:ell en:eng es:spa et:est fa:fas fi:fin fr:fra he:heb hi:hin hr:hrv hu:hun
id:ind it:ita ja:jpn ko:kor la:lat lt:lit lv:lav nl:nld no:nor pl:pol pt:por ro:ron ru:rus sk:slk sl:slv sr:srp sv:swe
th:tha tr:tur uk:ukr vi:vie zh:zho
"""
_LANGUAGES: Final = dict(pair.split(":") for pair in _CODES.split())


@dataclass(frozen=True, slots=True)
class Options:
    """The command-line options of a run."""

    input: Path
    output: Path
    file_format: str
    captions: str | None
    is_book: bool
    triton: str
    server: str | None
    api_key: str
    concurrency: int
    patience_s: float
    title: str | None = None
    author: str | None = None
    epub: bool = False
    words: bool = False

    @property
    def book_path(self) -> Path:
        """The path of the book's file."""
        return self.output / f"{self.input.stem}.{self.file_format}"


@dataclass(slots=True)
class Result:
    """The result of a run. `refusals`: why the server rejects the voice of a part, by its number."""

    parts: list[Part]
    outcome: Outcome
    failures: Mapping[str, str]
    refusals: dict[int, str] = field(default_factory=dict)


async def run(
    works: Sequence[Work], source: Source, dictionary: Dictionary, store: Store, options: Options, console: Console
) -> Result:
    """Synthesize works and write their files. Raises InputError, UnreachableError and OSError."""
    parts, refusals = await _parts(works, source, dictionary, options)
    jobs = [job for part in parts for job in part.jobs if job is not None]
    if not jobs:
        raise InputError(next(iter(refusals.values())))
    if options.words:
        _check_words(jobs)
    _write_manifest(parts, store, options)
    synthesizer = BatchSynthesizer(options.triton, options.concurrency, options.patience_s)
    is_strict = source.is_dataset and not options.is_book
    target = Target(options.output, options.file_format, options.captions, options.words, is_strict)
    assembler = Assembler(parts, store, synthesizer.failures, target)
    try:
        async with AsyncExitStack() as held:
            await held.enter_async_context(synthesizer)
            await synthesizer.prepare(jobs, store)
            display = held.enter_context(Display(parts, store.has, console, assembler.wake))
            group = await held.enter_async_context(asyncio.TaskGroup())
            group.create_task(_write(assembler, parts, source, options))
            await synthesizer.run(jobs, store, display)
            display.spoken()
            assembler.end()
    except* (UnreachableError, OSError, soundfile.SoundFileError) as errors:
        raise _first(errors) from None
    if options.epub and assembler.outcome.written:
        await asyncio.to_thread(_write_overlays, parts, assembler.outcome, source, options)
    return Result(parts, assembler.outcome, synthesizer.failures, refusals)


def _check_words(jobs: Sequence[Job]) -> None:
    """Raise InputError if a model has no word times."""
    model = next((job.voice.model for job in jobs if job.voice.model != HIBARI.name), None)
    if model is not None:
        raise InputError(f"--words: '{model}' has no word times. Use voices of '{HIBARI.name}', or omit --words.")


async def _write(assembler: Assembler, parts: Sequence[Part], source: Source, options: Options) -> None:
    about = _about(source, options)
    if options.is_book:
        fields = {"title": options.title or source.title or options.input.stem, "genre": "Audiobook", **about}
        await assembler.write_book(options.input.stem, Tags(fields, source.cover, _language(source)))
    else:
        await assembler.write_files(
            lambda number, work: Tags(
                {"title": work.title, "track": f"{number}/{len(parts)}", **about}, None, _language(source)
            )
        )


def _write_overlays(parts: Sequence[Part], outcome: Outcome, source: Source, options: Options) -> None:
    about = About(
        options.title or source.title or options.input.stem,
        options.author or source.author,
        source.language,
        source.cover,
        options.input.stat().st_mtime,
    )
    # A fixed name: the input may be in the same folder.
    path = options.output / f"{options.input.stem}.spoken.epub"
    write_overlays(path, options.book_path, parts, outcome.clips, about)


def _about(source: Source, options: Options) -> dict[str, str]:
    album = options.title or source.title or options.input.stem
    given = {"artist": options.author or source.author, "album": album}
    return {name: value for name, value in given.items() if value}


def _language(source: Source) -> str:
    return _LANGUAGES.get(source.language.lower().replace("_", "-").partition("-")[0], "")


async def _parts(
    works: Sequence[Work], source: Source, dictionary: Dictionary, options: Options
) -> tuple[list[Part], dict[int, str]]:
    """The works with their voices, and why the server rejects one, by number of the part."""
    manners = [each.manner for work in works for each in work.utterances]
    async with Resolver(options.server, options.api_key, options.patience_s, source.language) as resolver:
        voices = await resolver.voices(manners)
        tables: dict[str, str] = {}
        for name in dictionary.languages:
            try:
                tables[name] = await resolver.language(name)
            except RefusedError as error:
                raise InputError(f"The dictionary's table [{name}]: {error}") from None
    refusals: dict[int, str] = {}
    parts = []
    for number, work in enumerate(works):
        jobs: list[Job | None] = []
        for each in work.utterances:
            voice = voices[each.manner]
            if isinstance(voice, RefusedError):
                refusals.setdefault(number, str(voice))
                jobs.append(None)
            else:
                jobs.append(make_job(each, voice, dictionary.respell(each.text, _tables(tables, each.manner, voice))))
        parts.append(Part(work, tuple(jobs)))
    return parts, refusals


def _tables(tables: Mapping[str, str], manner: SpeechDefaults, voice: Voice) -> tuple[str, ...]:
    """The dictionary's tables for the language of an utterance, by either of the language's names."""
    named = {voice.language, (manner.language or "").lower()}
    return tuple(name for name, language in tables.items() if language in named or name.lower() in named)


def _write_manifest(parts: Sequence[Part], store: Store, options: Options) -> None:
    rows = [
        {
            "name": part.work.item.name,
            "title": part.work.item.title,
            "utterances": [job.key for job in part.jobs if job is not None],
        }
        for part in parts
    ]
    store.write_manifest({"input": str(options.input), "format": options.file_format, "items": rows})


def _first(errors: BaseException) -> UnreachableError | OSError:
    error = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, UnreachableError | OSError) else OSError(str(error))
