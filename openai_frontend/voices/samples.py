"""The sample texts from which designed voices are stored."""

from typing import Final

DEFAULT_LANGUAGE: Final = "english"
# About ten seconds each, with questions and pauses, so that a clone is not limited to one intonation.
SAMPLES: Final = {
    "chinese": "你好，这就是我的声音。我可以为你读新闻、讲故事，也可以在漫长而安静的夜晚陪伴你。你想先听什么呢？",
    "english": (
        "Hello, this is my voice. I can read you the news, tell you a story, or keep you company on a long and quiet "
        "evening. What would you like to hear first?"
    ),
    "german": (
        "Hallo, das ist meine Stimme. Ich lese dir die Nachrichten vor, erzähle dir eine Geschichte oder leiste dir an "
        "einem langen, ruhigen Abend Gesellschaft. Was möchtest du zuerst hören?"
    ),
    "italian": (
        "Ciao, questa è la mia voce. Posso leggerti le notizie, raccontarti una storia o farti compagnia in una lunga "
        "serata tranquilla. Che cosa vuoi ascoltare per prima?"
    ),
    "portuguese": (
        "Olá, esta é a minha voz. Posso ler as notícias, contar uma história ou fazer companhia numa noite longa e "
        "tranquila. O que gostaria de ouvir primeiro?"
    ),
    "spanish": (
        "Hola, esta es mi voz. Puedo leerte las noticias, contarte un cuento o hacerte compañía en una noche larga y "
        "tranquila. ¿Qué te gustaría escuchar primero?"
    ),
    "japanese": (
        "こんにちは、これが私の声です。ニュースを読んだり、物語を話したり、長くて静かな夜をご一緒したりできます。まず何を聞きたいですか？"
    ),
    "korean": (
        "안녕하세요, 이것이 제 목소리입니다. 뉴스를 읽어 드리고, 이야기를 들려 드리고, 길고 조용한 저녁을 "
        "함께 보낼 수 있어요. 무엇부터 들으시겠어요?"
    ),
    "french": (
        "Bonjour, voici ma voix. Je peux vous lire les nouvelles, vous raconter une histoire ou vous tenir compagnie "
        "par une longue soirée tranquille. Que voulez-vous entendre en premier ?"
    ),
    "russian": (
        "Здравствуйте, это мой голос. Я могу прочитать вам новости, рассказать историю или составить компанию долгим "
        "тихим вечером. Что вы хотите услышать сначала?"
    ),
}
