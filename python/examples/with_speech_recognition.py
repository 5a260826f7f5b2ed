"""SpeechRecognition: what is said, phrase by phrase; the engine finds the phrases.

Needs `pip install SpeechRecognition pocketsphinx`. Any of its recognizers will do.
"""

import speech_recognition

from v2m_engine.integrations.speech_recognition import Microphone

recognizer = speech_recognition.Recognizer()
with Microphone() as source:
    for phrase in source.phrases():
        try:
            print(recognizer.recognize_sphinx(phrase), flush=True)
        except speech_recognition.UnknownValueError:
            print("(something else)", flush=True)
