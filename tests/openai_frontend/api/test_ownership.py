"""Ownership of voices and consents: two keys, a household, and a server without keys, over HTTP."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.openai_frontend.api.test_voices import CONSENTS, NO_TRITON, SAMPLE, VOICES
from tests.support.replies import check
from tests.support.stack import Frontend

ANN, BEN = "sk-ann", "sk-ben"


class Caller:
    """Requests with one key, or without any."""

    def __init__(self, frontend: Frontend, key: str | None) -> None:
        self._url = frontend.url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        return httpx2.request(method, self._url + path, headers=self._headers, timeout=30, **arguments)

    def create(self, name: str, **fields: str) -> dict[str, Any]:
        reply = self.ask("POST", VOICES, data={"name": name, **fields}, files={"audio_sample": SAMPLE})
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def consent(self) -> str:
        fields = {"name": "Anna", "language": "en"}
        reply = self.ask("POST", CONSENTS, data=fields, files={"recording": SAMPLE})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["id"])

    def stored(self) -> list[dict[str, Any]]:
        """The listed voices that are not built in."""
        return [voice for voice in self.ask("GET", VOICES).json()["data"] if "created_at" in voice]

    def consents(self) -> list[str]:
        return [each["id"] for each in self.ask("GET", CONSENTS).json()["data"]]

    def speak(self, voice: str) -> httpx2.Response:
        return self.ask("POST", "/v1/audio/speech", json={"input": "Hello.", "voice": voice})


def can_speak_with(caller: Caller, voice: str) -> bool:
    """Whether the voice is found: then only Triton is missing."""
    reply = caller.speak(voice)
    assert reply.status_code in {400, 503}
    return reply.status_code == 503


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


def frontend_of(folder: Path, **settings: Any) -> Frontend:
    return Frontend(triton_url=NO_TRITON, voices_folder=str(folder), **settings)


@pytest.fixture
def frontend(folder: Path) -> Iterator[Frontend]:
    with frontend_of(folder, api_keys=f"{ANN},{BEN}", voice_names={"house": "Hausstimme"}) as running:
        yield running


@pytest.fixture
def ann(frontend: Frontend) -> Caller:
    return Caller(frontend, ANN)


@pytest.fixture
def ben(frontend: Frontend) -> Caller:
    return Caller(frontend, BEN)


def test_a_key_neither_sees_nor_uses_nor_deletes_the_voice_of_another(ann: Caller, ben: Caller) -> None:
    voice = ann.create("Anna")
    assert [each["id"] for each in ann.stored()] == [voice["id"]]
    assert ben.stored() == []
    for method in ("GET", "DELETE"):
        check(ben.ask(method, f"{VOICES}/{voice['id']}"), 404, "voice_id", "voice_not_found")
    for name in (voice["id"], "Anna", "anna(2)+anna(1)"):
        assert can_speak_with(ann, name)
        assert not can_speak_with(ben, name)
    assert ann.ask("DELETE", f"{VOICES}/{voice['id']}").status_code == 200


def test_a_refusal_is_the_same_for_another_keys_voice_and_for_an_unknown_one(ann: Caller, ben: Caller) -> None:
    theirs, none = ann.create("Anna")["id"], f"voice_{'0' * 32}"
    ben.create("Bert")
    for ask in (
        lambda voice: ben.ask("DELETE", f"{VOICES}/{voice}"),
        lambda voice: ben.speak(voice),
        lambda voice: ben.speak(f"bert+{voice}"),
    ):
        assert ask(theirs).text.replace(theirs, none) == ask(none).text


def test_a_blend_may_only_hold_voices_of_its_own_key(ann: Caller, ben: Caller) -> None:
    ann.create("Anna")
    ben.create("Bert")
    reply = ben.speak("bert(1)+anna(1)")
    message = check(reply, 400, "voice", "unknown_speaker")
    assert "'anna'" in message
    assert "Anna" not in message
    assert "Bert" in message


def test_two_keys_may_have_voices_of_one_name_and_each_speaks_with_its_own(
    ann: Caller, ben: Caller, folder: Path
) -> None:
    anns, bens = ann.create("Anna"), ben.create("anna")
    check(ben.ask("POST", VOICES, data={"name": "ANNA"}, files={"audio_sample": SAMPLE}), 400, "name")
    assert ann.ask("DELETE", f"{VOICES}/{anns['id']}").status_code == 200
    assert not can_speak_with(ann, "Anna")
    assert can_speak_with(ben, "Anna")
    owner = json.loads((folder / "voices" / bens["id"] / "metadata.json").read_text())["owner"]
    assert owner == hashlib.sha256(BEN.encode()).hexdigest()[:16]


def test_a_key_neither_sees_nor_uses_nor_changes_the_consent_of_another(ann: Caller, ben: Caller) -> None:
    consent = ann.consent()
    assert ann.consents() == [consent]
    assert ben.consents() == []
    path = f"{CONSENTS}/{consent}"
    for method, body in (("GET", {}), ("POST", {"json": {"name": "x"}}), ("DELETE", {})):
        check(ben.ask(method, path, **body), 404, "consent_id", "consent_not_found")
    check(ben.ask("GET", f"{CONSENTS}?after={consent}"), 400, "after")
    form = {"name": "Bert", "consent": consent}
    check(ben.ask("POST", VOICES, data=form, files={"audio_sample": SAMPLE}), 400, "consent", "consent_not_found")
    clone = {"input": "Hello.", "consent": consent}
    reply = ben.ask("POST", "/v1/audio/speech/clone", data=clone, files={"ref_audio": SAMPLE})
    check(reply, 400, "consent", "consent_not_found")
    assert ann.create("Anna", consent=consent)["consent"] == consent
    assert ann.ask("DELETE", path).status_code == 200


@pytest.mark.parametrize("key", [None, "sk-wrong"])
def test_without_a_key_an_open_list_gives_names_only(
    frontend: Frontend, ann: Caller, ben: Caller, key: str | None
) -> None:
    consent = ann.consent()
    voices = [ann.create("Anna", consent=consent, language="de"), ben.create("anna"), ben.create("Bert")]
    anybody = Caller(frontend, key)
    reply = anybody.ask("GET", VOICES)
    listed = {voice["name"]: voice for voice in reply.json()["data"]}
    for name in ("Anna", "Bert"):
        assert (listed[name]["id"], listed[name]["object"]) == (name, "audio.voice")
        # And what is known of the model that every such voice is spoken by.
        assert listed[name].keys() <= {"id", "name", "object", "model", "languages", "available", "reason"}
    assert not [each for each in (consent, *(voice["id"] for voice in voices)) if each in reply.text]
    for path in (f"{VOICES}/{voices[0]['id']}", CONSENTS, f"{CONSENTS}/{consent}"):
        check(anybody.ask("GET", path), 401, None, "invalid_api_key")


def test_a_name_that_the_operator_gave_is_for_every_key(ann: Caller, ben: Caller) -> None:
    ann.create("Hausstimme")
    assert can_speak_with(ben, "house")
    assert not can_speak_with(ben, "Hausstimme")


def test_a_household_shares_all_voices_and_each_still_has_its_owner(folder: Path) -> None:
    keys = f"{ANN},{BEN}"
    with frontend_of(folder, api_keys=keys, voices_shared=True) as frontend:
        ann, ben = Caller(frontend, ANN), Caller(frontend, BEN)
        voice, consent = ann.create("Anna"), ann.consent()
        assert ben.consents() == [consent]
        assert can_speak_with(ben, "Anna")
        check(ben.ask("POST", VOICES, data={"name": "anna"}, files={"audio_sample": SAMPLE}), 400, "name")
        assert ben.ask("DELETE", f"{CONSENTS}/{consent}").status_code == 200
    with frontend_of(folder, api_keys=keys) as frontend:
        assert [each["id"] for each in Caller(frontend, ANN).stored()] == [voice["id"]]
        assert Caller(frontend, BEN).stored() == []


def test_without_keys_all_voices_are_shared_and_stay_shared_when_keys_are_added(folder: Path) -> None:
    with frontend_of(folder, api_keys=ANN) as frontend:
        owned = Caller(frontend, ANN).create("Anna")
    with frontend_of(folder) as frontend:
        # Clients that must send a key send any.
        anybody = Caller(frontend, "unused")
        common = anybody.create("Common")
        assert {each["id"] for each in anybody.stored()} == {owned["id"], common["id"]}
        assert can_speak_with(anybody, "Anna")
    with frontend_of(folder, api_keys=BEN) as frontend:
        ben = Caller(frontend, BEN)
        assert [each["id"] for each in ben.stored()] == [common["id"]]
        assert ben.ask("DELETE", f"{VOICES}/{common['id']}").status_code == 200
