"""The native half of v2m_engine, and the reference of what it offers.

Positions are sample numbers at the stream's rate since the source's first sample. Times are
nanoseconds of CLOCK_MONOTONIC (`time.monotonic_ns()`) at which a sample was captured.
Samples are float32, full scale ±1, unless said otherwise.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, final

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    from typing_extensions import Buffer

from ._echo import Echo
from ._events import Event
from ._health import Health
from ._vad_event import VADEvent

__version__: str

class _Array(Protocol):
    """What NumPy's arrays are to a type checker before Python 3.12."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

_Audio: TypeAlias = Buffer | _Array

class V2MError(Exception):
    """The base of this package's errors."""

class EngineUnavailableError(V2MError):
    """No engine can be reached or started, or it went away and did not come back."""

class OverrunError(V2MError):
    """Audio was overwritten before it was read."""

    lost: int
    """Samples that were lost."""

class DeviceError(V2MError):
    """The source is not there, no audio comes from it, or too little."""

class NeedsRecovery(V2MError):
    """For `_aio.py`: the engine is gone, or detects no speech: time for what blocks."""

@final
class AudioCapture:
    """Audio from one source, for any number of streams.

    A private engine starts with the first stream and is kept for the next ones, until
    `close()` or the end of this object. Captures of one process that want the same
    source share it. It ends with this process, whatever happens.

    Can be pickled: the copy has the same settings, and an engine of its own.
    """

    def __new__(
        cls,
        sample_rate: int = 16000,
        buffer_size: int = 4096,
        *,
        source: str | None = None,
        channel: str | int | None = None,
        dtype: Literal["float32", "int16"] = "float32",
        engine: Literal["auto", "service", "private"] = "auto",
        latency: str | None = None,
    ) -> AudioCapture:
        """Nothing is opened yet.

        Args:
            sample_rate: 8000, 16000, 24000, 32000 or 48000 Hz, whatever the source has: the
                source's own rate comes as it is, bit for bit.
            buffer_size: samples of one window, 1 to half of the engine's history.
            source: what to capture, as `v2m-engine run --source` takes it: a node's
                name, `monitor:<sink>`, `alsa:<pcm>`, `file:<path>`. None: what the
                service is configured for, or the default source.
            channel: which of its channels to hear, as `v2m-engine run --channel` takes it:
                `"auto"` (the voice, at its own level), `"mix"` (the mean of all), a name
                (`"FL"`, `"AUX2"`) or a number from 1. None: what the service is configured
                for, or `"auto"`.
            dtype: what samples are: `"float32"` (full scale ±1), the engine's own memory; or
                `"int16"`, little-endian copies of it, which never go: scaled by 32768,
                rounded to the nearest integer (ties to even) and clipped, without the GIL.
            engine: `"service"`: the user's engine; `"private"`: one of this process;
                `"auto"`: the service if it runs, else a private one. Either gives any
                number of sources and rates.
            latency: the quantum to ask the audio server for, `"samples/rate"`, for
                instance `"128/48000"`. None: the engine's own.

        Raises:
            ValueError: an argument is not one of the above.
        """

    def stream(
        self,
        hop: int | Literal["quantum"] | None = None,
        *,
        timeout: float | None = 10.0,
        switch_interval: float | None = None,
    ) -> AudioStream:
        """A stream of this capture, to be used by `with` or `async with`.

        Args:
            hop: samples from one chunk to the next, 1 to `buffer_size` (the default);
                `"quantum"`: a chunk each time audio arrives, none of which is left out.
            timeout: seconds without any audio, or without an engine, after which
                entering and iterating give up. None: never.
            switch_interval: while the stream is open, `sys.setswitchinterval` is set to
                this many seconds (0.000001 to 1) unless it is lower already. A thread
                that runs pure Python delays yours by one interval (5 ms by default)
                each time audio arrives; 0.0002 leaves a fifth of a millisecond. It
                holds for the whole process; when several streams ask, the lowest
                counts, and after the last of them what the program had set. None:
                left alone.

        Raises:
            ValueError: `hop`, `timeout` or `switch_interval` is not one of the above.
        """

    def record(
        self,
        path: str | PathLike[str],
        *,
        format: Literal["wav", "wav16", "wav32", "flac", "flac24", "s16le", "f32le"] | None = None,
        speech: bool = False,
        split: bool = False,
        last: float = 0.0,
        seconds: float | None = None,
        overwrite: bool = False,
        sync: float = 1.0,
        min_speech_ms: int = 250,
        min_silence_ms: int = 500,
        pad_ms: int = 200,
        max_s: float = 30.0,
        threshold: float = 0.5,
        neg_threshold: float | None = None,
    ) -> Recording:
        """A recording of this capture, to be used by `with` or `async with`: as long as
        that lasts, or as long as `seconds`. It runs on a thread of its own.

        Args:
            path: the file; or `-` for standard output (WAV unless `format` says).
            format: `"wav16"`, or `"wav"`: WAV of 16 bit, which every program reads, RF64 past
                4 GiB; `"wav32"`: the same of 32-bit float, the engine's own samples bit for bit;
                `"flac"`: 16 bit; `"flac24"`; `"s16le"`, `"f32le"`: samples and nothing else.
                None: by the extension, `.wav` (16 bit) or `.flac`.
            speech: only speech, one segment after the other, each marked by a cue that names
                its time and position.
            split: each segment of speech in a file of its own, which is always new and named
                by its time: beside `path`, or in it if it is a directory.
            last: begin so many seconds in the past, as far as the engine remembers.
            seconds: end after so much audio, the past included.
            overwrite: replace a file that exists.
            sync: seconds from one sync to the next, 0.05 to 3600: what a crash can cost.
            min_speech_ms, min_silence_ms, pad_ms, max_s, threshold, neg_threshold: what counts
                as speech, for `speech` and `split`; as in `AudioStream.segments`.

        Raises:
            ValueError: an argument is not one of the above.
        """

    def close(self) -> None:
        """Lets go of the private engine; open streams keep it until they are closed."""

    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def buffer_size(self) -> int:
        """Samples of one window."""
    @property
    def dtype(self) -> Literal["float32", "int16"]:
        """What samples are."""
    @property
    def source(self) -> str | None:
        """What is captured, as it was given; None: what the service is configured for."""
    @property
    def channel(self) -> str | None:
        """Which of its channels is heard; None: as the service is configured."""
    @property
    def engine(self) -> Literal["auto", "service", "private"]:
        """Whose engine it is."""
    @property
    def latency(self) -> str | None:
        """The quantum that is asked for, `"samples/rate"`; None: the engine's own."""

@final
class Recording:
    """A capture in files, at work in the background: a context manager.

    Entering connects and opens the file; leaving ends it with the audio that is there
    then, and returns once all of it is on the disk. If the program dies meanwhile the
    file holds everything up to the last sync. While the disk is slow, full or gone the
    engine keeps the audio, as long as its history goes (65 s by default); what it can't
    keep is silence of the same length in the file, marked by a cue. If the engine goes away,
    the service is waited for (10 s at most), or the private engine started once more; the
    time without any is silence of the same length, marked by a cue. Start position, ring and
    time stand in the file's metadata.

    Raises, from entering:
        ValueError: the file exists, or can't be one.
        EngineUnavailableError: no engine.
        V2MError: the disk refuses; or `speech` without speech detection.

    Raises, from leaving and `wait`:
        EngineUnavailableError: the engine went away, and none came in its place; what
            there was until then is in the file.
        V2MError: the disk did not take all of it.
    """

    def __enter__(self) -> Recording: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Recording: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended by itself (`seconds`, a source's end): True; False
        if it goes on after `timeout` seconds. With asyncio: `asyncio.to_thread`."""

    def close(self) -> None:
        """Ends it and waits for the disk. Closing twice is fine."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""
    @property
    def files(self) -> list[Path]:
        """The files so far, the present one last; as of the last second."""
    @property
    def samples(self) -> int:
        """Samples recorded, as of the last second."""
    @property
    def lost(self) -> int:
        """Samples that were overwritten before the disk took them, or that were speech
        and are in no file."""
    @property
    def trouble(self) -> str | None:
        """Why the disk takes nothing just now; None if it does."""
    def _open(self) -> None: ...
    def _abandon(self) -> None: ...

@final
class AudioStream(Buffer):
    """Audio as it arrives: a context manager, an iterator, and a buffer.

    Entering connects and waits for the first full buffer. As a buffer it is its newest
    `buffer_size` samples (read-only; float32 and not copied, or int16), each time it is
    asked.
    Iterating gives `AudioChunk`s in order without repeats or holes, the first being the
    newest window at the time of entering.

    If the engine goes away, iteration waits for the service to come back (at most
    `timeout`), or starts the private engine once more. The first chunk after that has
    `gap` set, and positions start anew. A file's end ends the iteration after the last
    full hop; what is left of it can be read from the stream as a buffer.

    May be used from several threads or tasks: each chunk goes to one of them. Ctrl-C
    interrupts a wait; cancelling an `await` loses nothing; a forked child has to open
    streams of its own. Awaiting takes an asyncio event loop (uvloop is one; anyio's scopes
    and groups work on it); under trio iterate in a worker thread.

    Raises, from entering and iterating:
        EngineUnavailableError: no engine, or it is gone for good.
        DeviceError: no audio for `timeout` seconds, or less than one buffer.
        OverrunError: the next window was overwritten; `lost` samples belong to no
            chunk. The next iteration goes on with the newest audio.
        ValueError: the buffer is longer than half of the engine's history.
        V2MError: the stream is not open, or closed.
    """

    def __enter__(self) -> AudioStream: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __iter__(self) -> AudioStream: ...
    def __next__(self) -> AudioChunk: ...
    async def __aenter__(self) -> AudioStream: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
    def __aiter__(self) -> AudioStream: ...
    async def __anext__(self) -> AudioChunk: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def latest(self) -> AudioChunk:
        """The newest `buffer_size` samples; doesn't move the iteration."""

    def segments(
        self,
        min_speech_ms: int = 250,
        min_silence_ms: int = 500,
        pad_ms: int = 200,
        max_s: float = 30.0,
        partial_ms: int | None = None,
        *,
        threshold: float = 0.5,
        neg_threshold: float | None = None,
    ) -> SpeechSegments:
        """Utterances as they become certain, for `for` or `async for`.

        Each is one contiguous window of the engine's memory, from the pad before its
        first word to the pad after its last, and comes `min_silence_ms` (or two pads, if
        they are longer) after that word. Until something was taken from the stream they
        begin where it was entered, later with its newest window; the pad before the first
        word may reach further back. Doesn't move the iteration of chunks, and any number
        of iterators, each with parameters of its own, may run beside each other.

        A reader that is slow loses nothing within the engine's history. Speech that it
        is too late for raises OverrunError, with `lost` the samples of it, and the next
        iteration goes on with what stays readable for a quarter of the history. Silence that
        was missed is no loss. The end of a file ends what is open, and so does closing the
        stream: it is the last segment. So does the loss of the engine; then it goes on with
        the next engine as chunks do, and the first segment of that has `gap` set.

        Args:
            min_speech_ms: speech must be longer than this to count.
            min_silence_ms: a pause of this length ends a segment.
            pad_ms: added before and after; where two segments are closer than two pads
                each gets half of the silence between them.
            max_s: longest segment in seconds, pads included; a longer one is split at its
                longest pause; without one where, in the five seconds before, it was quietest,
                or else, as in noise, speech was least likely.
                At most three quarters of the engine's history.
            partial_ms: also give the segment each time it grew by so much, with `final`
                False; those that a newer one has overtaken meanwhile are left out.
            threshold: probability from which on a window is speech, above 0 to 1.
            neg_threshold: below this a pause begins. None: 0.15 less than `threshold`.

        Raises:
            ValueError: an argument is not one of the above.
            V2MError: the stream is not open. From iterating: the engine has no speech
                detection (the message says why, and how to get it).
            EngineUnavailableError, DeviceError, OverrunError: from iterating, as chunks.
        """

    def read(self, n: int, timeout: float | None = None) -> array[Any]:
        """The next `n` samples after those that were read last; the first ones begin where
        the stream was entered. Waits for them without the GIL; doesn't move the iteration.
        With asyncio: `await asyncio.to_thread(stream.read, n)`, or iterate chunks of that
        size.

        Args:
            n: samples, 1 to half of the engine's history.
            timeout: seconds to wait at most. None: as long as audio comes (see `stream`).

        Returns:
            An owned `array.array("f")` or, of int16, `array.array("h")`, which stays for as
            long as you keep it; `np.asarray` takes it without another copy. It costs what
            `AudioChunk.copy` does. It is shorter where the source ends or the engine went
            away: the next read goes on with the next engine. Empty: nothing follows.

        Raises:
            TimeoutError: there are no `n` samples yet; the next read has them.
            OverrunError: `lost` samples were overwritten before they were read. The next
                read goes on with what stays readable for a quarter of the history.
            ValueError: `n` or `timeout` is not one of the above.
            EngineUnavailableError, DeviceError, V2MError: as from iterating.
        """

    def events(self) -> StreamEvents:
        """What happens to the stream besides its audio: speech begins and ends, audio is
        missing, another source is captured, the engine's state changes. For `for` or
        `async for`, any number of them beside each other.

        Until something was taken from the stream they begin where it was entered, later
        with its newest window; where speech goes on there, its start, from before that, is
        the first. Each comes as soon as the engine has told it: speech within one window
        (32 ms) of audio after its first. Goes on with the next engine as chunks do. More
        than 2,048 of a kind that nobody took are forgotten, the oldest first.

        Raises:
            V2MError: the stream is not open.
            EngineUnavailableError, DeviceError: from iterating, as chunks.
        """

    def close(self) -> None:
        """Closes the stream, from any thread: iterations under way end. Chunks stay
        readable. Closing twice is fine."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def buffer_size(self) -> int:
        """Samples of one window."""
    @property
    def dtype(self) -> Literal["float32", "int16"]:
        """What samples are: of the stream as a buffer, of its chunks and its segments."""
    @property
    def hop(self) -> int | Literal["quantum"]:
        """Samples from one chunk to the next, or `"quantum"`."""
    @property
    def position(self) -> int:
        """The position that the next sample to arrive will have."""
    @property
    def written_ns(self) -> int:
        """When the engine wrote the newest samples, CLOCK_MONOTONIC nanoseconds."""
    @property
    def history(self) -> int:
        """Samples that the engine keeps."""
    @property
    def source(self) -> str:
        """What the engine captures, as its configuration says."""
    @property
    def health(self) -> Health:
        """What is wrong with the source now, as the engine hears it.

        Asks the engine each time: some tenths of a millisecond, one second at most, without
        the GIL. It looks at the sound ten times a second, and at all of the last ten
        seconds, so once a second is often enough.

        Raises:
            EngineUnavailableError: the engine is gone, or doesn't answer within a second.
            V2MError: the stream is not open, or closed.
        """
    @property
    def private_engine_pid(self) -> int | None:
        """Process id of the private engine; None with the service."""

    def _open(self) -> None: ...
    def _check_first(self) -> None: ...
    def _poll(self) -> AudioChunk | None: ...
    def _pending(self) -> bool: ...
    def _recover(self) -> bool: ...
    def _stalled(self) -> DeviceError: ...
    def _readiness(self) -> _Readiness: ...
    @property
    def _timeout(self) -> float | None: ...
    @property
    def _stream(self) -> AudioStream: ...

class AudioChunk(Buffer):
    """A window of audio in the engine's own memory.

    As a buffer: one-dimensional, contiguous, read-only, format `f` (float32), shape
    `(buffer_size,)`. `memoryview(chunk)` and `np.asarray(chunk)` copy nothing and stay
    readable as long as they are held, whatever happens to the engine. Once the engine
    comes round (after its history, a minute by default) it writes newer audio there:
    `valid` asked after reading tells whether what was read was this chunk. What is kept
    longer is copied: by `copy()`, by `bytes(chunk)`, or by reading it with
    `AudioStream.read`.

    Of a capture with `dtype="int16"` it is a copy of its own, format `h` (int16), and
    always valid.
    """

    @property
    def position(self) -> int:
        """Position of the first sample."""
    @property
    def time_ns(self) -> int:
        """When the first sample was captured, CLOCK_MONOTONIC nanoseconds. Sample `i` was
        captured `i / sample_rate` seconds later."""
    @property
    def speech(self) -> memoryview:
        """Speech probabilities (float32, 0 to 1) of the windows of 32 ms that end in this
        chunk, not copied. The newest are waited for, at most 20 ms; fewer, or none,
        where the engine has not judged them by then: it is late, or its speech detection
        is off. NaN: a window that could not be judged.

        Raises:
            OverrunError: they were overwritten.
        """
    @property
    def echo(self) -> tuple[Echo, ...]:
        """What was taken off the windows that end in this chunk, and the one that it begins
        in, because a loudspeaker played it: of the source `clean`. Of others, and of windows
        that were overwritten, nothing is told: all is zero, or there are fewer."""
    @property
    def gap(self) -> bool:
        """Whether it holds silence filled in for lost audio, or is the first chunk
        after the engine was lost."""
    @property
    def valid(self) -> bool:
        """False once any of it was overwritten."""
    def copy(self) -> array[Any]:
        """An owned copy, which stays for as long as you keep it: `array.array("f")` or, of
        int16, `array.array("h")`; `np.asarray` takes it without another. It costs the time to
        copy 4 bytes a sample (2 of int16) and their memory: 64 kB for a second at 16 kHz.
        `bytes(chunk)` copies in the same way.

        Raises:
            OverrunError: `lost` of its samples were overwritten.
        """
    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class SpeechSegment(AudioChunk):
    """An utterance in the engine's own memory: a chunk whose length is that of the speech.

    As a buffer it is like any chunk, not copied. It stays as it is until the engine comes
    round (its history, a minute by default, counted from the segment's first sample):
    `copy()` what takes longer, or ask `valid` after reading. `gap` is set where it holds
    silence filled in for lost audio.
    """

    @property
    def final(self) -> bool:
        """False while it is still growing (see `partial_ms`); a final one follows, with
        the same start, that may end a little earlier."""
    @property
    def end(self) -> int:
        """Position after the last sample."""
    @property
    def duration(self) -> float:
        """Seconds."""

@final
class SpeechSegments:
    """What `AudioStream.segments()` gives: an iterator of `SpeechSegment`s, for `for` and
    `async for`. May be left (`break`) and taken up again; each segment goes to one of
    the threads or tasks that share it. After the stream is closed it gives what was open
    then as the last, final segment."""

    def __iter__(self) -> SpeechSegments: ...
    def __next__(self) -> SpeechSegment: ...
    def __aiter__(self) -> SpeechSegments: ...
    async def __anext__(self) -> SpeechSegment: ...
    def finish(self) -> bool:
        """Ends the utterance in progress now, for push to talk. It is the next segment, and
        final; whoever waits for one gets it. What follows begins a new one.

        From any thread; doesn't wait.

        Returns:
            Whether there is one: `if segments.finish(): segment = next(segments)`. Speech
            of not more than `min_speech_ms` is none.
        """

    def _poll(self) -> SpeechSegment | None: ...
    def _pending(self) -> bool: ...
    def _recover(self) -> bool: ...
    @property
    def _stream(self) -> AudioStream: ...

@final
class Together:
    """What `together()` gives: an iterator of tuples of `AudioChunk`s, for `for` and
    `async for`."""

    def __iter__(self) -> Together: ...
    def __next__(self) -> tuple[AudioChunk, ...]: ...
    def __aiter__(self) -> Together: ...
    async def __anext__(self) -> tuple[AudioChunk, ...]: ...
    def _poll(self) -> tuple[AudioChunk, ...] | None: ...
    def _pending(self) -> bool: ...
    def _recover(self) -> bool: ...
    @property
    def _stream(self) -> AudioStream: ...

@final
class StreamEvents:
    """What `AudioStream.events()` gives: an iterator of `Event`s, for `for` and `async for`.
    Each event goes to one of the threads or tasks that share it."""

    def __iter__(self) -> StreamEvents: ...
    def __next__(self) -> Event: ...
    def __aiter__(self) -> StreamEvents: ...
    async def __anext__(self) -> Event: ...
    def _poll(self) -> Event | None: ...
    def _pending(self) -> bool: ...
    def _recover(self) -> bool: ...
    @property
    def _stream(self) -> AudioStream: ...

class _Timestamp(TypedDict):
    """A stretch of speech, pads included."""

    start: float
    """First sample, or seconds."""
    end: float
    """Sample after the last, or seconds."""

@final
class VADProcessor:
    """Finds speech in any audio, by Silero VAD; needs neither ONNX Runtime nor PyTorch.

    Audio is one of

    * an `AudioStream` (its newest `buffer_size` samples), an `AudioChunk` or a
      `SpeechSegment`: the engine has judged it already, and no model runs. Its newest
      windows are waited for, at most 20 ms; where the engine can't tell (its speech
      detection is off, failed, or is late) the model runs here, beginning a second
      before the audio where that is still there. The windows are those of
      `AudioChunk.speech`: 512 samples each, counted from the ring's beginning, that end
      in the audio; or the last before, if none does.
    * any other buffer of float32 (full scale 1.0) or int16, one-dimensional and contiguous:
      a NumPy array, `array.array`, `memoryview`. 16 kHz and 8 kHz are judged by Silero's
      network for that rate, other rates from 8000 to 384000 Hz are resampled to 16 kHz. The
      model runs on it, without the GIL. Each call takes a recording from its beginning to
      its end, whose last window is filled up with silence: the same audio gives the same
      answer, and no audio is no speech. With `resume=True` it goes on where the last call
      with `resume=True` ended instead, for audio that comes in pieces; samples that don't
      fill a window wait for the next piece. (`VADStream` says where speech starts and ends
      in pieces.)

    May be used from several threads, which don't wait for each other; `resume` is one
    sequence for all of them. Ctrl-C interrupts hours of audio, but no call with `resume`.
    Can be pickled: the copy has the same parameters.

    Raises, from every method that takes audio:
        ValueError: a buffer of another format, rate or shape, one that is not contiguous,
            holds NaN or infinity, or samples beyond ±10: those are of another scale, full
            scale being ±1. The message says what to do.
        TypeError: no buffer at all.
        OverrunError: audio of a stream that was overwritten.
        V2MError: a stream that is not open.
    """

    def __new__(
        cls,
        threshold: float = 0.5,
        min_speech_ms: int = 250,
        min_silence_ms: int = 500,
        pad_ms: int = 200,
        *,
        neg_threshold: float | None = None,
        max_s: float = ...,
        split_silence_ms: int = 98,
        split: Literal["longest", "last", "quietest"] = "longest",
        hearing: Literal["plain", "enhanced"] = "plain",
    ) -> VADProcessor:
        """
        All but `hearing` mean what silero-vad's `get_speech_timestamps` means by them, and
        give its sample numbers; only the defaults are those of `AudioStream.segments`.
        `v2m_engine.compat.silero_vad` has silero's own names and defaults.

        Args:
            threshold: probability from which on a window is speech, above 0 to 1.
            min_speech_ms, min_silence_ms, pad_ms: for `speech_timestamps`, as in
                `AudioStream.segments`.
            neg_threshold: probability below which a pause begins. None: 0.15 below
                `threshold`, at least 0.01.
            max_s: the longest segment, pads included, in seconds; infinite by default.
            split_silence_ms: a pause longer than this may split a segment that would
                become longer than `max_s`.
            split: at which of these pauses: "longest" (that is over), or "last". Without
                one the segment ends where it became too long. "quietest", which silero
                hasn't, is "longest", but without a pause it cuts where, in the five seconds
                before, it was quietest, or else, as in noise, speech was least likely.
            hearing: "plain" judges audio as it is and gives Silero's own probabilities.
                "enhanced" is what the engine does unless its configuration says otherwise:
                it takes DC and rumble away, amplifies weak audio (from -80 dBFS up), and
                finds speech after an hour of music as after none. Audio that the engine
                has judged already keeps the engine's answer.

        Raises:
            ValueError: an argument is not one of the above.
        """

    def contains_speech(
        self, audio: _Audio, *, sample_rate: int = 16000, resume: bool = False
    ) -> bool:
        """Whether the probability of any window reaches `threshold`. A piece that completes
        no window has the answer of the last window before it.

        Args:
            audio: one of those above.
            sample_rate: of a buffer, in Hz; chunks and streams have their own.
            resume: go on where the last call with it ended.
        """

    def probabilities(
        self, audio: _Audio, *, sample_rate: int = 16000, resume: bool = False
    ) -> array[float]:
        """The probability, 0 to 1, that there is speech in each window of 512 samples at
        16 kHz: an `array.array("f")` of float32, one for each window, that `np.asarray` takes
        without a copy.

        Args:
            audio: one of those above.
            sample_rate: of a buffer, in Hz; chunks and streams have their own.
            resume: go on where the last call with it ended.
        """

    def speech_timestamps(
        self,
        audio: _Audio,
        return_seconds: bool = False,
        *,
        sample_rate: int = 16000,
        time_resolution: int | None = None,
    ) -> list[_Timestamp]:
        """Where speech is, by the rules of `AudioStream.segments`.

        Args:
            audio: one of those above.
            return_seconds: seconds (float) instead of samples (int, at `sample_rate`).
            sample_rate: of a buffer, in Hz; chunks and streams have their own.
            time_resolution: round seconds to so many decimals, 0 or more; None: not at all.

        Returns:
            `{"start": ..., "end": ...}` in order, counted from the beginning of the audio.
        """

    def speech_timestamps_from(
        self,
        probabilities: Sequence[float] | array[float],
        length: int | None = None,
        *,
        return_seconds: bool = False,
        sample_rate: int = 16000,
        time_resolution: int | None = None,
    ) -> list[_Timestamp]:
        """What `speech_timestamps` would return for audio of these probabilities, one for
        each 32 ms, as `probabilities` returns them: other parameters need no other model run.
        Only `split="quietest"` may cut elsewhere, as the audio isn't there.

        Args:
            probabilities: 0 to 1, one for each window, in one dimension.
            length: of the audio in samples at `sample_rate`, which these windows may cover;
                None: whole windows.
            return_seconds, time_resolution: as for `speech_timestamps`.
            sample_rate: of the audio, in Hz.

        Raises:
            ValueError: an argument is not one of the above; NaN is no probability.
            TypeError: `probabilities` are no numbers.
        """

    def speech_timestamps_many(
        self,
        items: Iterable[_Audio | str | PathLike[str]],
        jobs: int | None = None,
        *,
        return_seconds: bool = False,
        sample_rate: int = 16000,
        time_resolution: int | None = None,
    ) -> list[list[_Timestamp] | Exception]:
        """Where speech is in many recordings, on all cores, without the GIL.

        Recordings that are open at once share the network's weights, which makes each
        cheaper than alone. Memory is that of a few seconds of audio for each of them (four
        per job), however long they are, and however many `items` gives.

        Args:
            items: buffers as for `speech_timestamps`, and names of files (str or
                `os.PathLike`): WAV, RF64, FLAC, MP3, Ogg Vorbis, AAC and ALAC in M4A, AIFF,
                CAF; of any rate from 8000 Hz, and of any number of channels, of which the
                mean is judged. An iterator is asked for the next one when there is room.
            jobs: threads, 1 to 1024; None: one for each core that this process may use.
            return_seconds, time_resolution: as for `speech_timestamps`.
            sample_rate: of buffers, in Hz; a file says its own.

        Returns:
            For each item, in order, what `speech_timestamps` returns, in samples of the
            file's own rate; or the exception that it cost. A file that is damaged, or no
            audio, is one in the list (a ValueError, a DeviceError) and the others are done.

        Raises:
            ValueError: `jobs`, `sample_rate` or `time_resolution` is not one of the above.
            Exception: what the iterator raises, and KeyboardInterrupt.
        """

    def reset(self) -> None:
        """Begins a new recording for `resume=True`."""

    @property
    def threshold(self) -> float:
        """Probability, as given."""
    @property
    def min_speech_ms(self) -> int:
        """Milliseconds, as given."""
    @property
    def min_silence_ms(self) -> int:
        """Milliseconds, as given."""
    @property
    def pad_ms(self) -> int:
        """Milliseconds, as given."""
    @property
    def neg_threshold(self) -> float | None:
        """Probability, as given; None: by `threshold`."""
    @property
    def max_s(self) -> float:
        """Seconds, as given."""
    @property
    def split_silence_ms(self) -> int:
        """Milliseconds, as given."""
    @property
    def split(self) -> Literal["longest", "last", "quietest"]:
        """As given."""
    @property
    def hearing(self) -> Literal["plain", "enhanced"]:
        """As given."""

def _programs() -> list[Path]: ...
def together(*streams: AudioStream) -> Together:
    """Reads open streams together: tuples of chunks that cover the same time.

    >>> with microphone.stream() as a, system.stream() as b:
    ...     for mine, theirs in together(a, b):
    ...         ...

    The first stream is read as by itself, by its buffer size and hop; beside each of its
    chunks come those of the others for the same time, each at its stream's own rate. From now
    on until the streams are closed the audio server is asked to drive their sources by one
    clock, and what one clock drives stays a constant number of samples apart. Where clocks
    drift all the same, the other's chunks follow the first one's time, a sample more or less
    at a time.

    Args:
        streams: one or more, all of them open.

    Raises:
        V2MError: a stream is not open.
        OverrunError: by the iterator, where one of them has no more, or not yet, what the
            first one has; it goes on afterwards.
    """

def read_audio(path: str | PathLike[str], sample_rate: int = 16000) -> array[float]:
    """A file as one channel: an `array.array("f")` of float32 samples (full scale ±1) that
    `np.asarray` takes without a copy.

    Args:
        path: WAV, RF64, FLAC, MP3, Ogg Vorbis, AAC and ALAC in M4A, AIFF, CAF; of several
            channels the mean is taken.
        sample_rate: what to convert to, 8000 to 384000 Hz.

    Raises:
        ValueError: no file that can be read, or a rate that can't be converted.
        DeviceError: it is damaged, and can't be read to its end.
    """

@final
class VADStream:
    """Finds where speech starts and ends in audio that comes in pieces of any size.

    >>> stream = VADStream(sample_rate=16000)
    >>> for piece in pieces:
    ...     for event in stream.push(piece):
    ...         print(event.kind, event.time)

    The events are those of silero-vad's `VADIterator`, whose defaults it has, and needs no
    pieces of exactly 512 samples. Audio is judged without the GIL. May be used from several
    threads, one after the other.
    """

    def __new__(
        cls,
        threshold: float = 0.5,
        min_silence_ms: int = 100,
        pad_ms: int = 30,
        *,
        min_speech_ms: int = 0,
        neg_threshold: float | None = None,
        sample_rate: int = 16000,
        hearing: Literal["plain", "enhanced"] = "plain",
    ) -> VADStream:
        """
        Args:
            threshold, neg_threshold, min_silence_ms, pad_ms, hearing: as for `VADProcessor`.
            min_speech_ms: speech that is not longer than this ends with "misfire" instead
                of "end".
            sample_rate: of all pieces, in Hz.

        Raises:
            ValueError: an argument is not one of the above.
        """

    def push(self, audio: _Audio) -> list[VADEvent]:
        """Takes what follows, and says what became known by it.

        Args:
            audio: a buffer as for `VADProcessor`, also an empty one.

        Raises:
            ValueError, TypeError: as for `VADProcessor`; nothing of the piece was taken.
        """

    def finish(self) -> list[VADEvent]:
        """The audio ends: judges the last window, filled up with silence, and ends speech
        that goes on. As new from then on."""

    def reset(self) -> None:
        """Forgets what was given; positions begin at 0 again."""

    @property
    def in_speech(self) -> bool:
        """Whether speech has started and not ended."""
    @property
    def probability(self) -> float | None:
        """That there is speech in the last window that is full; None before the first."""
    @property
    def position(self) -> int:
        """Samples taken so far."""

class _Readiness:
    def fileno(self) -> int: ...
    def arm(self) -> None: ...
    def drain(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def written_ns(self) -> int: ...
