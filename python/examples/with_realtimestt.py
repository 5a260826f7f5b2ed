"""RealtimeSTT: its recorder, fed by the engine.

Needs `pip install RealtimeSTT[default]`.
"""

from RealtimeSTT import AudioToTextRecorder

from v2m_engine.integrations.realtimestt import Feed

if __name__ == "__main__":
    recorder = AudioToTextRecorder(model="small.en", use_microphone=False)
    with Feed(recorder):
        while True:
            print(recorder.text(), flush=True)
