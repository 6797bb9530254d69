"""Turn a book or a dataset into audio: text, Markdown, JSONL, CSV or EPUB in, files or one book out.

    tts-batch book.epub -o out --book --voice alloy --captions srt

Voices, models and languages are those of the API: the running server resolves them, and the audio comes directly from
Triton. After an interruption or a crash, the same command resumes the run. All visible text is synthesized, or listed
with the reason in OUTPUT/skipped.jsonl.

Exit codes: 0, all done; 1, something failed or was invalid, the rest is done; 2, nothing could be done, or Triton was
unreachable for longer than --patience; 130, interrupted.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from .batch.casting import Casting
from .batch.dictionary import Dictionary
from .batch.document import Skipped
from .batch.encoding import CHAPTERED, FORMATS, RATES
from .batch.failures import InputError, UnreachableError
from .batch.items import Source, read_source
from .batch.plan import Defaults, SpeechDefaults, Work, plan
from .batch.progress import clock
from .batch.report import FILE, all_skipped, counted, write_skipped
from .batch.rows import Problem
from .batch.run import Options, Result, run
from .batch.store import Store

DONE, INCOMPLETE, NOTHING, INTERRUPTED = 0, 1, 2, 130
_SAID: Final = 20  # problems that are printed; a file of a million rows may have as many

console = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Exits with the status described above."""
    options = _parse(arguments)
    try:
        sys.exit(_run(options))
    except InputError as error:
        _say(str(error))
        sys.exit(NOTHING)
    except UnreachableError as error:
        _say(f"{error} (Triton at {options.triton}.) Finished work is kept; run the same command again to resume.")
        sys.exit(NOTHING)
    except OSError as error:
        _say(f"{options.output} can't be written: {error.strerror or error}. Finished work is kept.")
        sys.exit(NOTHING)
    except KeyboardInterrupt:
        _say("Interrupted. Finished work is kept; run the same command again to resume.")
        sys.exit(INTERRUPTED)


def _run(options: argparse.Namespace) -> int:
    source = read_source(options.input)
    casting = Casting.read(options.casting) if options.casting else Casting()
    dictionary = Dictionary.read(options.dictionary) if options.dictionary else Dictionary({})
    manner = SpeechDefaults(options.model, options.voice, options.language, options.instruct)
    works, problems, silent = _sorted(plan(source.items, Defaults(manner, options.seed), casting), source)
    _say_problems(problems, options.input)
    if not works:
        raise InputError(f"{options.input} has nothing to speak.")
    if options.dry_run:
        _estimate(works, silent, options)
        return INCOMPLETE if problems else DONE
    store = Store(options.output / ".work", needs_words=options.words)
    begin_s = time.monotonic()
    result = asyncio.run(run(works, source, dictionary, store, _options(options), console))
    skipped = list(all_skipped(silent, works))
    left_out = write_skipped(options.output, skipped, result.parts, result.refusals, result.failures, store.notes)
    _conclude(result, skipped, len(works) + len(problems), time.monotonic() - begin_s, options)
    is_whole = not (left_out or result.outcome.incomplete)
    if is_whole and not options.keep_work:
        store.forget()
    return DONE if is_whole and not problems else INCOMPLETE


def _sorted(works: Sequence[Work], source: Source) -> tuple[list[Work], list[Problem], list[tuple[str, Skipped]]]:
    """The works with something to speak; rows without, which are problems; and what is skipped in chapters without."""
    problems, silent = list(source.problems), list(source.silent)
    for work in works:
        if work.utterances:
            continue
        if source.is_dataset:
            problems.append(Problem(work.item.name, "it has nothing to pronounce"))
        silent += [(work.title, each) for each in work.skipped]
    return [work for work in works if work.utterances], problems, silent


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _say_problems(problems: Sequence[Problem], path: Path) -> None:
    for problem in problems[:_SAID]:
        _say(f"{path}, {problem.place}: {problem.message}; skipped")
    if len(problems) > _SAID:
        _say(f"… and {len(problems) - _SAID} more")


def _estimate(works: Sequence[Work], silent: Sequence[tuple[str, Skipped]], options: argparse.Namespace) -> None:
    """Print each chapter with its length and skipped text, and the totals."""
    for number, work in enumerate(works, 1):
        skipped = f"; skipped: {counted(work.skipped)}" if work.skipped else ""
        print(f"{number:4} {clock(work.estimated_s)} {work.title}{skipped}")
    for title in dict.fromkeys(title for title, _ in silent):
        print(f"   - nothing to speak in {title}; skipped: {counted(each for name, each in silent if name == title)}")
    seconds = sum(work.estimated_s for work in works)
    size_mb = seconds * RATES[options.format] / 1e6
    utterances = sum(len(work.utterances) for work in works)
    print(f"{len(works)} items, {utterances} utterances, about {clock(seconds)} of speech, {size_mb:.0f} MB")
    if skipped_by_rules := [each for _, each in all_skipped(silent, works)]:
        print(f"skipped: {counted(skipped_by_rules)}")


def _conclude(
    result: Result, skipped: Sequence[tuple[str, Skipped]], items: int, took_s: float, options: argparse.Namespace
) -> None:
    outcome = result.outcome
    for number, why in list(result.refusals.items())[:_SAID]:
        _say(f"{result.parts[number].work.title}: {why}")
    for why, count in Counter(result.failures.values()).most_common(_SAID):
        _say(f"{count} utterances failed: {why}")
    for work in outcome.incomplete[:_SAID]:
        _say(f"{work.title} is incomplete")
    if skipped:
        _say(f"Skipped: {counted(each for _, each in skipped)}; details in {options.output / FILE}")
    _say(
        f"{outcome.written} of {items} items, {clock(outcome.length_s)} of speech in {clock(took_s)} "
        f"({outcome.length_s / took_s:.1f} ×), in {options.output}"
    )


def _options(options: argparse.Namespace) -> Options:
    return Options(
        input=options.input,
        output=options.output,
        file_format=options.format,
        captions=options.captions,
        is_book=options.book,
        triton=options.triton,
        server=None if options.no_server else options.server,
        api_key=os.environ.get("TTS_API_KEY", ""),
        concurrency=options.concurrency,
        patience_s=options.patience,
        title=options.title,
        author=options.author,
        epub=options.epub,
        words=options.words,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tts-batch", description="Turn a book or a dataset into audio through Triton."
    )
    parser.add_argument("input", type=Path, help="a .txt, .md, .jsonl, .csv, .tsv or .epub file")
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    parser.add_argument("--format", choices=FORMATS, help="default: m4b for a book, else wav")
    parser.add_argument("--book", action="store_true", help="one file with chapter marks, m4b or mp3")
    parser.add_argument("--captions", choices=("srt", "vtt"), help="subtitles beside each file")
    parser.add_argument(
        "--words", action="store_true", help="word times: NAME.words.json, and subtitles of a readable size"
    )
    parser.add_argument(
        "--epub", action="store_true", help="with --book: also an EPUB that highlights the current text"
    )
    parser.add_argument("--dry-run", action="store_true", help="list chapters and skipped text, and exit")
    voice = parser.add_argument_group("voice, with the names of the API")
    voice.add_argument("--voice", help="an OpenAI name, speaker, stored voice or blend (default: the server's)")
    voice.add_argument("--model", help="a public model name (default: selected by the voice)")
    voice.add_argument("--language", help="a name or a code (default: the book's, else detected)")
    voice.add_argument("--instruct", help="style instructions, if the model supports them")
    voice.add_argument("--seed", type=int, default=0, help="the same seed gives the same audio (default: %(default)s)")
    voice.add_argument("--casting", type=Path, metavar="FILE", help="voices of chapters and of quoted speech, in TOML")
    voice.add_argument("--dictionary", type=Path, metavar="FILE", help="terms and their respellings, in TOML")
    server = parser.add_argument_group("server")
    server.add_argument("--triton", default="127.0.0.1:8000", help="host:port (default: %(default)s)")
    server.add_argument("--server", default="http://127.0.0.1:8101", help="resolves names (default: %(default)s)")
    server.add_argument("--no-server", action="store_true", help="use --voice and --model as Triton's own names")
    server.add_argument("--concurrency", type=int, default=8, help="requests in flight (default: %(default)s)")
    server.add_argument(
        "--patience", type=float, default=300, help="seconds to wait for an unreachable Triton (default: 300)"
    )
    parser.add_argument("--title", help="title of the book or collection, for the files' tags")
    parser.add_argument("--author", help="author, for the files' tags")
    parser.add_argument("--keep-work", action="store_true", help="keep the utterances in OUTPUT/.work at the end")
    options = parser.parse_args(arguments)
    options.triton = options.triton.removeprefix("http://").rstrip("/")
    options.server = options.server.rstrip("/").removesuffix("/v1")
    options.format = options.format or ("m4b" if options.book else "wav")
    options.book |= options.format == "m4b"
    if options.epub and not options.book:
        parser.error("--epub requires --book")
    if options.book and options.format not in CHAPTERED:
        parser.error(f"a book with chapters is one of {', '.join(CHAPTERED)}, not {options.format}")
    if options.concurrency < 1:
        parser.error(f"--concurrency is {options.concurrency}; it must be at least 1")
    return options


if __name__ == "__main__":
    main()
