"""Turn a book or a dataset into audio through Triton: text, Markdown, JSONL, CSV or EPUB in, files or one book out.

    python -m client.batch_synthesize book.epub -o out --format m4b --captions srt

It talks to Triton itself, so it needs no frontend; a model that is not loaded is loaded. Stopped at any time, and by
anything, it goes on where it was when it is started again with the same command.

Exit codes: 0 all done; 1 something was left out or failed, the rest is done; 2 nothing could be done, or Triton went
away for longer than --patience; 130 interrupted.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from client.batch.files import CHAPTERED, FORMATS, Chapter, write_audio, write_captions
from client.batch.items import InputError, Problem, read_items
from client.batch.plan import Manner, Utterance, Work, plan
from client.batch.recording import Caption, Recording, join
from client.batch.store import Store
from client.batch.synthesis import BatchSynthesizer, Report, UnreachableError
from speech_protocol.audio import SAMPLE_BYTES, SAMPLE_RATE_HZ
from speech_protocol.models import HIBARI

DONE, INCOMPLETE, NOTHING, INTERRUPTED = 0, 1, 2, 130
# Bytes a second of each format, for estimates.
_RATES: Final = {"wav": 48_000, "flac": 24_000, "mp3": 8_000, "opus": 4_000, "m4b": 8_000}
_CHAPTER_PAUSE_S: Final = 1.5

console = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    try:
        sys.exit(_run(options))
    except InputError as error:
        console.print(str(error))
        sys.exit(NOTHING)
    except UnreachableError as error:
        console.print(f"Triton at {options.triton}: {error} What is done is kept; start again to go on.")
        sys.exit(NOTHING)
    except KeyboardInterrupt:
        console.print("Interrupted. What is done is kept; start again to go on.")
        sys.exit(INTERRUPTED)


def _run(options: argparse.Namespace) -> int:
    items, problems = read_items(options.input)
    for problem in problems:
        console.print(f"{options.input}, {problem.place}: {problem.message}; left out")
    works = plan(items, Manner(options.model, options.voice, options.language, options.instruct, options.seed))
    works = [work for work in works if work.utterances or _complain(work, problems)]
    if not works:
        raise InputError(f"{options.input} has nothing to speak.")
    if options.dry_run:
        return _estimate(works, options, problems)
    store = Store(options.output / ".work")
    begin_s = time.monotonic()
    report = asyncio.run(_synthesize(works, store, options))
    failed = _write(works, store, report, options)
    made = {each.key for work in works for each in work.utterances if store.has(each.key)}
    made_s = sum(len(store.read(key)) for key in made) / SAMPLE_BYTES / SAMPLE_RATE_HZ
    took_s = time.monotonic() - begin_s
    console.print(
        f"{len(works) - len(failed)} of {len(items) + len(problems)} items, {_clock(made_s)} of speech in "
        f"{_clock(took_s)} ({made_s / took_s:.1f} ×), in {options.output}"
    )
    if not options.keep_work and not failed:
        store.forget()
    return INCOMPLETE if failed or problems else DONE


def _complain(work: Work, problems: list[Problem]) -> bool:
    problems.append(Problem(work.item.name, "there is nothing to pronounce in it"))
    console.print(f"{work.item.name}: {problems[-1].message}; left out")
    return False


def _estimate(works: Sequence[Work], options: argparse.Namespace, problems: Sequence[Problem]) -> int:
    seconds = sum(work.estimated_s for work in works)
    size_mb = seconds * _RATES[options.format] / 1e6
    utterances = sum(len(work.utterances) for work in works)
    print(f"{len(works)} items, {utterances} utterances, about {_clock(seconds)} of speech, {size_mb:.0f} MB")
    return INCOMPLETE if problems else DONE


async def _synthesize(works: Sequence[Work], store: Store, options: argparse.Namespace) -> Report:
    utterances = [each for work in works for each in work.utterances]
    _write_manifest(works, store, options)
    percent = TextColumn("{task.percentage:3.0f} %")
    columns = (TextColumn("{task.description}"), BarColumn(), percent, TimeRemainingColumn())
    synthesizer = BatchSynthesizer(options.triton, options.model, options.concurrency, options.patience)
    with Progress(*columns, console=console) as progress:
        bar = _Bar(progress, progress.add_task("", total=sum(each.width for each in utterances)), synthesizer.report)
        for each in utterances:
            if store.has(each.key):
                bar.skip(each)
        async with synthesizer:
            await synthesizer.run(utterances, store, bar.done)
    return synthesizer.report


class _Bar:
    """How far it is, how fast, and what failed."""

    def __init__(self, progress: Progress, task: TaskID, report: Report) -> None:
        self._progress, self._task, self._report = progress, task, report
        self._begin_s, self._audio_s = time.monotonic(), 0.0

    def skip(self, utterance: Utterance) -> None:
        self._progress.advance(self._task, utterance.width)

    def done(self, utterance: Utterance, pcm: bytes) -> None:
        self._audio_s += len(pcm) / SAMPLE_BYTES / SAMPLE_RATE_HZ
        speed = self._audio_s / max(1e-9, time.monotonic() - self._begin_s)
        failures = f", {len(self._report.failures)} failed" if self._report.failures else ""
        self._progress.update(self._task, advance=utterance.width, description=f"{speed:.1f} ×{failures}")


def _write_manifest(works: Sequence[Work], store: Store, options: argparse.Namespace) -> None:
    rows = [
        {"name": work.item.name, "title": work.item.title, "utterances": [each.key for each in work.utterances]}
        for work in works
    ]
    store.write_manifest({"input": str(options.input), "format": options.format, "items": rows})


def _write(works: Sequence[Work], store: Store, report: Report, options: argparse.Namespace) -> list[Work]:
    """Every item that is whole, or the book if all are; those that are not."""
    failed = []
    chapters: list[tuple[Work, Recording]] = []
    for number, work in enumerate(works, 1):
        for utterance in work.utterances:
            if why := report.warnings.get(utterance.key) or report.failures.get(utterance.key):
                console.print(f"{work.item.name}: '{utterance.text[:40]}': {why}")
        if any(not store.has(each.key) for each in work.utterances):
            failed.append(work)
            continue
        recording = join((each, store.read(each.key)) for each in work.utterances)
        if options.book:
            chapters.append((work, recording))
            continue
        tags = {"title": work.item.title or work.item.name, "track": f"{number}/{len(works)}", **_tags(options)}
        _write_files(work.item.name, recording, tags, (), options)
    if options.book and not failed:
        _write_book(chapters, options)
    return failed


def _write_files(
    name: str, recording: Recording, tags: dict[str, str], chapters: Sequence[Chapter], options: argparse.Namespace
) -> None:
    write_audio(options.output / f"{name}.{options.format}", options.format, recording.pcm, tags, chapters)
    if options.captions:
        write_captions(options.output / f"{name}.{options.captions}", options.captions, recording.captions)


def _write_book(chapters: Sequence[tuple[Work, Recording]], options: argparse.Namespace) -> None:
    pause = bytes(round(_CHAPTER_PAUSE_S * SAMPLE_RATE_HZ) * SAMPLE_BYTES)
    pieces, marks, captions, begin_s = [], [], [], 0.0
    for number, (work, recording) in enumerate(chapters, 1):
        last = number == len(chapters)
        pieces += [recording.pcm, b"" if last else pause]
        end_s = begin_s + recording.length_s + (0 if last else _CHAPTER_PAUSE_S)
        marks.append((work.item.title or f"{number}", begin_s, end_s))
        captions += [Caption(begin_s + each.begin_s, begin_s + each.end_s, each.text) for each in recording.captions]
        begin_s = end_s
    name = options.input.stem
    tags = {"title": options.title or name, "genre": "Audiobook", **_tags(options)}
    _write_files(name, Recording(b"".join(pieces), tuple(captions)), tags, marks, options)


def _tags(options: argparse.Namespace) -> dict[str, str]:
    given = {"artist": options.author, "album": options.title or options.input.stem}
    return {name: value for name, value in given.items() if value}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m client.batch_synthesize", description="Turn a book or a dataset into audio through Triton."
    )
    parser.add_argument("input", type=Path, help="a .txt, .md, .jsonl, .csv or .epub file")
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    parser.add_argument("--format", choices=FORMATS, help="default: m4b for a book, else wav")
    parser.add_argument("--book", action="store_true", help="one file with chapter marks, m4b or mp3")
    parser.add_argument("--captions", choices=("srt", "vtt"), help="subtitles beside each file")
    parser.add_argument("--dry-run", action="store_true", help="say how much it is, and do nothing")
    parser.add_argument("--triton", default="127.0.0.1:8000", help="host:port (default: %(default)s)")
    parser.add_argument("--model", default=HIBARI.name, help="Triton model (default: %(default)s)")
    parser.add_argument("--voice", help="one of the model's speakers")
    parser.add_argument("--language", default="auto", help="of the text (default: %(default)s)")
    parser.add_argument("--instruct", help="how it is spoken, in words, where the model takes instructions")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same audio (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight (default: %(default)s)")
    parser.add_argument(
        "--patience", type=float, default=300, help="seconds that a Triton that is away is waited for (default: 300)"
    )
    parser.add_argument("--title", help="of the book or collection, for the files' tags")
    parser.add_argument("--author", help="for the files' tags")
    parser.add_argument("--keep-work", action="store_true", help="keep the utterances in OUTPUT/.work when all is done")
    options = parser.parse_args(arguments)
    options.triton = options.triton.removeprefix("http://").rstrip("/")
    options.format = options.format or ("m4b" if options.book else "wav")
    options.book |= options.format == "m4b"
    if options.book and options.format not in CHAPTERED:
        parser.error(f"a book with chapters is one of {', '.join(CHAPTERED)}, not {options.format}")
    if options.concurrency < 1:
        parser.error(f"--concurrency is {options.concurrency}; it must be at least 1")
    return options


if __name__ == "__main__":
    main()
