"""Sentences of the ten languages, each group one paragraph, with what tempts a splitter to cut in the wrong place."""

from typing import Final

SPACELESS: Final = ("chinese", "japanese")
CORPUS: Final = (
    ("english", ("Dr. Smith paid $3.50 to Mr. Jones at 5 p.m. on Friday.", "He left.")),
    ("english", ("The U.S. economy grew 2.3 percent.", "Analysts (e.g. those at Acme Inc.) were surprised.")),
    ("english", ('"Where are you going?" she asked.', '"Home!" he said.', "Then silence.")),
    ("english", ("Wait... what?", "I don't know…", "Maybe.")),
    ("english", ("See Fig. 3 and Sec. 2.1 for details.", "It was written by J. R. R. Tolkien.")),
    ("english", ("Visit example.com for more.", "It runs version 2.0.1 now.")),
    ("english", ('He said, "I\'m leaving."', "She nodded.")),
    ("english", ("It was cold (very cold.)", "We stayed in.", "No. 5 is alive!")),
    ("german", ("Das ist z. B. ein Test.", "Am 3. Oktober feiern wir.", "Herr Dr. Müller kommt um 10.30 Uhr.")),
    ("german", ("„Wohin gehst du?“, fragte sie.", "„Nach Hause.“", "Er ging usw. und so fort.")),
    ("german", ("Die Temperatur lag bei 3,5 Grad bzw. darunter.", "Es war kalt.")),
    ("german", ("Das kostet ca. 20 Euro.", "»Wirklich?«", "»Ja.«")),
    ("french", ("M. Dupont habite au 3, rue de la Paix.", "Il a dit : « Bonjour ! »", "Elle est partie…")),
    ("french", ("Qu'est-ce que c'est ?", "C'est p. ex. un livre.", "Mme. Martin le sait.")),
    ("spanish", ("¿Dónde está el Sr. García?", "¡No lo sé!", "La Sra. López vive en EE. UU. desde 1990.")),
    ("spanish", ("Costó 3.50 euros.", "—¿Vienes? —preguntó ella.", "Sí.")),
    ("italian", ("Il dott. Rossi abita in via Roma n. 5.", "Che bella giornata!", "Andiamo?")),
    ("italian", ("Il sig. Bianchi ha speso 3,50 euro.", "«Ciao», disse.")),
    ("portuguese", ("O Sr. Silva mora na Av. Paulista.", "Que horas são?", "São 10.30 da manhã.")),
    ("portuguese", ("A Dra. Costa chegou às 5 p.m. ontem.", "Tudo bem.")),
    ("russian", ("Это стоит 3,5 руб. за штуку.", "Он родился в 1990 г. в Москве.", "Как дела?")),
    ("russian", ("А. С. Пушкин — великий поэт.", "«Куда ты идёшь?» — спросила она.", "И т. д. и т. п.")),
    ("chinese", ("今天天气很好。", "我们去公园吧！", "你想去吗？", "他说：“我不去。”", "然后走了……")),
    ("chinese", ("价格是3.5元。", "这是真的吗？！", "是的。")),
    ("japanese", ("今日はいい天気ですね。", "公園に行きましょう！", "「行きたいですか？」と彼は聞いた。", "はい。")),
    ("japanese", ("値段は3.5ドルです。", "本当ですか…", "「はい。」")),
    ("korean", ("오늘 날씨가 좋네요.", "공원에 갈까요?", "네, 좋아요!", "가격은 3.5달러입니다.")),
    ("korean", ('그는 "안녕하세요."라고 말했다.', "그리고 떠났다.")),
)
