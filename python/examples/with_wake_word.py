"""openWakeWord: waits for a wake word in frames of 80 ms.

Needs `pip install openwakeword`, and a model: its own aren't free for commercial use.
"""

import sys

import openwakeword

from v2m_engine.integrations.wake_word import Frames

model = openwakeword.Model(wakeword_models=sys.argv[1:], inference_framework="onnx")
with Frames() as frames:
    for frame in frames:
        for word, score in model.predict(frame).items():
            if score > 0.5:
                print(word, flush=True)
