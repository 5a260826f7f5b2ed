"""Wyoming, the protocol of Home Assistant's voice programs: a microphone server.

    python -m v2m_engine.integrations.wyoming --uri tcp://127.0.0.1:10600

Whoever connects gets audio, and when a voice started and stopped. Timestamps are milliseconds of
capture (CLOCK_MONOTONIC). The microphone is captured while somebody is connected.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from functools import partial

from .. import AudioCapture, AudioStream, OverrunError, V2MError, __version__
from . import missing

try:
    from wyoming.audio import AudioChunk, AudioFormat, AudioStart, AudioStop
    from wyoming.event import Event
    from wyoming.info import Attribution, Describe, Info, MicProgram
    from wyoming.server import AsyncEventHandler, AsyncServer
    from wyoming.vad import VoiceStarted, VoiceStopped
except ImportError as _error:
    raise missing(__name__, "wyoming", _error) from _error

NS_PER_MS = 1_000_000


class MicrophoneHandler(AsyncEventHandler):
    """One connection: sends events of audio and of voice, and answers `describe`."""

    def __init__(
        self,
        capture: AudioCapture,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """
        Args:
            capture: with `dtype="int16"`; its buffer is a chunk of audio.
            reader, writer: the connection; `AsyncServer` gives them.
        """
        super().__init__(reader, writer)
        self._capture = capture
        self._format = AudioFormat(rate=capture.sample_rate, width=2, channels=1)

    async def handle_event(self, event: Event) -> bool:
        """Answers an event that is `describe`, and ignores all else."""
        if Describe.is_type(event.type):
            await self.write_event(self._info().event())
        return True

    async def run(self) -> None:
        """As long as the connection lasts."""
        sending = asyncio.create_task(self._send())
        try:
            await super().run()
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending

    async def _send(self) -> None:
        try:
            async with self._capture.stream() as stream:
                voice = asyncio.create_task(self._send_voice(stream))
                try:
                    await self._send_audio(stream)
                finally:
                    voice.cancel()
                    await asyncio.gather(voice, return_exceptions=True)
        except V2MError as error:
            print(f"wyoming: {error}", file=sys.stderr)
        # The client sees why there is no more.
        self.writer.close()

    async def _send_audio(self, stream: AudioStream) -> None:
        end = None
        while True:
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                break
            except OverrunError:
                continue
            at = chunk.time_ns // NS_PER_MS
            known = vars(self._format)
            if end is None:
                await self.write_event(AudioStart(timestamp=at, **known).event())
            audio = AudioChunk(audio=bytes(chunk), timestamp=at, **known)
            await self.write_event(audio.event())
            end = at + 1000 * len(chunk) // self._format.rate
        await self.write_event(AudioStop(timestamp=end).event())

    async def _send_voice(self, stream: AudioStream) -> None:
        """Without speech detection there is audio only. Of speech that goes on when the client
        comes there is no start, and so no end."""
        started = False
        async for event in stream.events():
            at = event.time_ns // NS_PER_MS
            if event.kind == "speech-start":
                started = True
                await self.write_event(VoiceStarted(timestamp=at).event())
            elif event.kind == "speech-end" and started:
                started = False
                await self.write_event(VoiceStopped(timestamp=at).event())

    def _info(self) -> Info:
        by = Attribution(name="v2m_engine", url="https://pypi.org/project/v2m-engine/")
        return Info(
            mic=[
                MicProgram(
                    name="v2m_engine",
                    description="The microphone, with speech detection",
                    attribution=by,
                    installed=True,
                    version=__version__,
                    mic_format=self._format,
                )
            ]
        )


async def serve(
    uri: str,
    source: str | None = None,
    *,
    sample_rate: int = 16000,
    samples_per_chunk: int = 1024,
    channel: str | int | None = None,
) -> None:
    """A server until it is cancelled.

    Args:
        uri: `tcp://HOST:PORT` or `unix://PATH`. Whoever reaches it hears the microphone.
        source: as `AudioCapture` takes it; None: the service's, or the default one.
        sample_rate: Hz.
        samples_per_chunk: of one event of audio.
        channel: as `AudioCapture` takes it.

    Raises:
        ValueError: an argument is none of these.
        OSError: the address is taken.
    """
    capture = AudioCapture(
        sample_rate, samples_per_chunk, source=source, channel=channel, dtype="int16"
    )
    await AsyncServer.from_uri(uri).run(partial(MicrophoneHandler, capture))


def main() -> None:
    """The command."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m v2m_engine.integrations.wyoming", description=about
    )
    parser.add_argument("--uri", default="tcp://127.0.0.1:10600", help="tcp:// or unix:// address")
    parser.add_argument("--source", help="what to capture, as v2m-engine run --source takes it")
    parser.add_argument("--rate", type=int, default=16000, help="sample rate in Hz (16000)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.uri, options.source, sample_rate=options.rate))
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        sys.exit(f"wyoming: {error}")


if __name__ == "__main__":
    main()
