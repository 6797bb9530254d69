// Sample texts of voices, and texts to read aloud for cloning, in each language of the models.

export const PHRASES = {
  english:
    "The morning was bright and quiet. I made a cup of tea, opened the window, and listened to the birds. What a good way to begin the day!",
  chinese: "早晨明亮而安静。我泡了一杯茶，打开窗户，听着鸟儿歌唱。这样开始新的一天，真好！",
  japanese: "明るくて静かな朝でした。お茶を入れて、窓を開け、鳥の声を聞きました。なんて素敵な一日の始まりでしょう！",
  korean:
    "밝고 조용한 아침이었어요. 차를 한 잔 타고 창문을 열어 새소리를 들었어요. 하루를 시작하기에 참 좋은 방법이죠!",
  german:
    "Der Morgen war hell und still. Ich machte mir einen Tee, öffnete das Fenster und hörte den Vögeln zu. So fängt ein Tag gut an!",
  french:
    "Le matin était clair et calme. J'ai préparé un thé, ouvert la fenêtre et écouté les oiseaux. Quelle belle façon de commencer la journée !",
  russian: "Утро было ясным и тихим. Я заварил чай, открыл окно и послушал птиц. Какое хорошее начало дня!",
  portuguese:
    "A manhã estava clara e tranquila. Fiz um chá, abri a janela e ouvi os pássaros. Que boa maneira de começar o dia!",
  spanish:
    "La mañana era clara y tranquila. Preparé un té, abrí la ventana y escuché a los pájaros. ¡Qué buena manera de empezar el día!",
  italian:
    "La mattina era chiara e tranquilla. Ho preparato un tè, aperto la finestra e ascoltato gli uccelli. Che bel modo di iniziare la giornata!",
};

export const CONSENT = "I am the owner of this voice, and I agree that it is used to make a synthetic voice.";

/** Language tags (BCP 47) of the consent sentences. */
export const TAGS = {
  english: "en-US",
  chinese: "zh-CN",
  japanese: "ja-JP",
  korean: "ko-KR",
  german: "de-DE",
  french: "fr-FR",
  russian: "ru-RU",
  portuguese: "pt-BR",
  spanish: "es-ES",
  italian: "it-IT",
};

/** Style presets, for models that support instructions. */
export const STYLES = [
  ["Warm", "Warm and friendly, with a smile."],
  ["Calm", "Calm and slow, in a soft voice."],
  ["Cheerful", "Cheerful and lively."],
  ["News", "Clear and neutral, like a news reader."],
  ["Story", "Like a storyteller: vivid, with pauses before what is exciting."],
  ["Serious", "Serious and firm."],
  ["Whisper", "Whispering, very close."],
];

export const DESCRIPTIONS = [
  ["Sea captain", "An old sea captain, deep and hoarse, in no hurry."],
  ["Young teacher", "A young woman, a teacher: clear, patient and friendly."],
  ["Radio host", "A man around forty with a warm, full radio voice, relaxed and quick-witted."],
];
