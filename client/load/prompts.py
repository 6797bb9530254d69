"""Texts of a load test: original sentences in the ten languages of Qwen3-TTS, and English from short to long."""

from typing import Final

SHORT: Final = (
    "Yes, of course.",
    "The lights in the kitchen are off.",
    "Your train leaves in ten minutes.",
    "I set a timer for a quarter of an hour.",
)
MEDIUM: Final = (
    "It rained all night, but in the morning the sky was clear and the streets were dry before noon.",
    "The museum opens at nine on weekdays, and the last visitors have to leave a little before six.",
    "Add the flour to the butter, stir until nothing sticks to the bowl, and let it rest under a cloth.",
)
LONG: Final = (
    "The old harbour had been quiet for years. Then, one spring, the boats came back: first two, then a dozen, and by "
    "the summer there was hardly a place left along the wall. Children sat on the steps and counted the masts. Nobody "
    "could say why it had happened, but everybody agreed that the town had never smelled so strongly of tar and fish.",
    "Before you call the workshop, please look at three things. Is the cable plugged in at both ends? Is the green "
    "light on? And does the fan turn when you hold your hand in front of it? If all of them are as they should be, "
    "write down the number on the back of the machine, since that is the first thing you will be asked for.",
)
LANGUAGES: Final = (
    "The bridge is closed until further notice.",
    "这座桥暂时关闭，请走另一条路。",
    "橋はしばらくの間、通行止めです。",
    "다리는 당분간 통행할 수 없습니다.",
    "Die Brücke ist bis auf Weiteres gesperrt.",
    "Le pont est fermé jusqu'à nouvel ordre.",
    "Мост закрыт до особого распоряжения.",
    "A ponte está fechada até novo aviso.",
    "El puente está cerrado hasta nuevo aviso.",
    "Il ponte è chiuso fino a nuovo avviso.",
)
PROMPTS: Final = {
    "short": SHORT,
    "medium": MEDIUM,
    "long": LONG,
    "english": (*SHORT, *MEDIUM, *LONG),
    "languages": LANGUAGES,
    "all": (*SHORT, *MEDIUM, *LONG, *LANGUAGES),
}
