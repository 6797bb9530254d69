"""Text preparation on the way to the model: language detection, and Markdown."""

import httpx2

from tests.support.stack import Frontend, Stack

FRENCH = "Les enfants jouent dans le jardin derrière la maison, et il fait beau."


def pcm(frontend: Frontend, text: str) -> bytes:
    body = {"model": "tts-1", "input": text, "response_format": "pcm", "seed": 7}
    reply = httpx2.post(f"{frontend.url}/v1/audio/speech", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.content


def test_a_model_of_one_language_never_receives_another_detected_one(stack: Stack) -> None:
    assert pcm(stack.frontend, FRENCH)


def test_markdown_is_read_aloud_without_its_marks_where_the_setting_says_so(stack: Stack) -> None:
    markdown = "# Good **morning**\n\n- [Coffee](https://example.com/menu) is *ready* ☕\n- Sit down!\n"
    plain = "Good morning.\n\nCoffee is ready.\n\nSit down!"
    settings = {"triton_url": stack.triton.url, "default_model": "hibari", "idle_timeout": 0}
    with Frontend(text_cleanup="markdown", **settings) as reader:
        assert pcm(reader, markdown) == pcm(stack.frontend, plain)
        body = {"model": "tts-1", "input": "```\nprint()\n```\n🙂"}
        reply = httpx2.post(f"{reader.url}/v1/audio/speech", json=body, timeout=60)
    assert reply.status_code == 400
    assert (reply.json()["error"]["param"], reply.json()["error"]["code"]) == ("input", "empty_input")
    assert pcm(stack.frontend, markdown) != pcm(stack.frontend, plain)
