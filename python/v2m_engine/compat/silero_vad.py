"""silero-vad's own names over v2m_engine: one changed import runs existing programs.

    from v2m_engine.compat.silero_vad import load_silero_vad, get_speech_timestamps, read_audio

Same parameters, same defaults, same sample numbers as silero-vad 6.2.3, without PyTorch and
ONNX Runtime. Audio may be a PyTorch tensor, a NumPy array, an `array.array` or a list; what
comes back is a tensor where a tensor was given. `read_audio` and a model called with anything
else return a tensor if PyTorch was imported, else a NumPy array if NumPy was, else an
`array.array`.

What differs: int16 arrays are judged at their own full scale, and float audio far beyond ±1.0
is a ValueError, where silero judges both as they are, and wrongly. `max_speech_duration_s`
must leave room for two pads and two windows. `read_audio` resamples with this package's own
filter, so samples of files at other rates differ slightly from torchaudio's.
"""

from __future__ import annotations

import array
import sys
import warnings
import wave
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import v2m_engine

__all__ = [
    "SileroVADSequence",
    "VADIterator",
    "collect_chunks",
    "drop_chunks",
    "get_speech_timestamps",
    "get_speech_timestamps_from_probs",
    "get_speech_timestamps_sequence",
    "load_silero_vad",
    "read_audio",
    "save_audio",
]

languages: list[str] = ["ru", "en", "de", "es"]

#: What silero's functions take: whatever holds samples.
_Samples = Any
_Timestamps = list[dict[str, Any]]


def _is_tensor(audio: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(audio, torch.Tensor)


def _buffer(audio: _Samples) -> Any:
    """One channel in one piece, as `VADProcessor` takes it."""
    if _is_tensor(audio):
        audio = audio.detach().cpu().numpy()
    if not hasattr(audio, "shape"):
        try:
            view = memoryview(audio)
        except TypeError:
            return array.array("f", audio)
        return audio if view.format in ("f", "h") else array.array("f", view.tolist())
    if audio.ndim > 1:
        # Dimensions of one are nobody's channels.
        if sum(length > 1 for length in audio.shape) > 1:
            raise ValueError(
                "More than one dimension in audio. Are you trying to process audio with 2 channels?"
            )
        audio = audio.reshape(-1)
    if audio.dtype.name not in ("float32", "int16"):
        audio = audio.astype("float32")
    return audio if audio.flags.c_contiguous else audio.copy()


def _like(values: array.array[float], model: _Samples = None) -> Any:
    """As a tensor, a NumPy array, or as it is."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and (model is None or _is_tensor(model)):
        return torch.tensor(values, dtype=torch.float32)
    return values if numpy is None else numpy.asarray(values)


def _decimated(audio: _Samples, rate: int) -> tuple[_Samples, int, int]:
    """Multiples of 16 kHz as silero takes them: every so-many-th sample."""
    if rate > 16000 and rate % 16000 == 0:
        warnings.warn(
            "Sampling rate is a multiply of 16000, casting to 16000 manually!", stacklevel=3
        )
        step = rate // 16000
        audio = _buffer(audio)[::step]
        return (audio.copy() if hasattr(audio, "copy") else audio), 16000, step
    if rate not in (8000, 16000):
        raise ValueError(
            "Currently silero VAD models support 8000 and 16000 (or multiply of 16000) sample rates"
        )
    return audio, rate, 1


class SileroVAD:
    """What `load_silero_vad` returns: `model(window, sampling_rate)` gives the probability
    of the window that follows those before, until `reset_states()`."""

    def __init__(self) -> None:
        self.reset_states()

    def reset_states(self, batch_size: int = 1) -> None:
        """Forgets what was heard."""
        self._streams = [v2m_engine.VADProcessor() for _ in range(batch_size)]
        self._rate = 0

    def __call__(self, x: _Samples, sr: int = 16000) -> Any:
        """One window, or one of each of several streams (batch, samples); a probability for
        each, in the shape (batch, 1)."""
        rows = list(x) if getattr(x, "ndim", 1) == 2 else [x]
        rows, rate, _ = _rows(rows, sr)
        window = 512 if rate == 16000 else 256
        for row in rows:
            if len(row) != window:
                raise ValueError(
                    f"Provided number of samples is {len(row)} "
                    "(Supported values: 256 for 8000 sample rate, 512 for 16000)"
                )
        if len(rows) != len(self._streams) or (self._rate and rate != self._rate):
            self.reset_states(len(rows))
        self._rate = rate
        found = array.array("f")
        for stream, row in zip(self._streams, rows, strict=True):
            found += stream.probabilities(_buffer(row), sample_rate=rate, resume=True)
        return _matrix(_like(found, x), (len(rows), 1), found)

    def audio_forward(self, x: _Samples, sr: int = 16000) -> Any:
        """The probabilities of all windows of one recording or several (batch, samples), in
        the shape (batch, windows)."""
        rows = list(x) if getattr(x, "ndim", 1) == 2 else [x]
        rows, rate, _ = _rows(rows, sr)
        vad = v2m_engine.VADProcessor()
        found = array.array("f")
        for row in rows:
            found += vad.probabilities(_buffer(row), sample_rate=rate)
        return _matrix(_like(found, x), (len(rows), len(found) // max(len(rows), 1)), found)

    def eval(self) -> SileroVAD:
        """Itself, as PyTorch's modules."""
        return self

    def to(self, *_args: object, **_named: object) -> SileroVAD:
        """Itself: it runs on the CPU."""
        return self


def _rows(rows: list[Any], rate: int) -> tuple[list[Any], int, int]:
    converted = [_decimated(row, rate) for row in rows]
    return [row for row, _, _ in converted], converted[0][1], converted[0][2]


class _Number(list[list[float]]):
    """A matrix without NumPy."""

    def item(self) -> float:
        ((value,),) = self
        return value


def _matrix(values: Any, shape: tuple[int, int], plain: array.array[float]) -> Any:
    if hasattr(values, "reshape"):
        return values.reshape(shape)
    rows, columns = shape
    return _Number([list(plain[n * columns : (n + 1) * columns]) for n in range(rows)])


class SileroVADSequence:
    """The model that takes a recording at once; here every model does."""

    def __init__(
        self,
        path: object = None,
        sampling_rate: int = 16000,
        max_frames: int = 512,
        force_onnx_cpu: bool = True,
    ) -> None:
        if sampling_rate not in (8000, 16000):
            raise ValueError(f"Unsupported sampling_rate {sampling_rate}; supported: [8000, 16000]")
        self.sampling_rate: int = sampling_rate
        self.max_frames: int = max_frames

    def audio_forward(
        self, audio: _Samples, sampling_rate: int = 16000, max_frames: int | None = None
    ) -> Any:
        """One probability for each window."""
        found = v2m_engine.VADProcessor().probabilities(_buffer(audio), sample_rate=sampling_rate)
        return _like(found, audio)


def load_silero_vad(
    onnx: bool = False,
    opset_version: int = 16,
    sequence: bool = False,
    sampling_rate: int = 16000,
    max_frames: int = 512,
) -> Any:
    """The model; there is one, whatever is asked for."""
    if onnx and opset_version not in (15, 16):
        raise Exception("Available ONNX opset_version: [15, 16]")
    return SileroVADSequence(None, sampling_rate, max_frames) if sequence else SileroVAD()


def _milliseconds(value: float) -> int:
    if value != int(value):
        raise ValueError(f"{value} ms: must be whole milliseconds")
    return int(value)


def _processor(
    threshold: float,
    min_speech_duration_ms: float,
    max_speech_duration_s: float,
    min_silence_duration_ms: float,
    speech_pad_ms: float,
    neg_threshold: float | None,
    min_silence_at_max_speech: float,
    use_max_poss_sil_at_max_speech: bool,
) -> v2m_engine.VADProcessor:
    return v2m_engine.VADProcessor(
        threshold=threshold,
        min_speech_ms=_milliseconds(min_speech_duration_ms),
        min_silence_ms=_milliseconds(min_silence_duration_ms),
        pad_ms=_milliseconds(speech_pad_ms),
        neg_threshold=neg_threshold,
        max_s=max_speech_duration_s,
        split_silence_ms=_milliseconds(min_silence_at_max_speech),
        split="longest" if use_max_poss_sil_at_max_speech else "last",
    )


def get_speech_timestamps(
    audio: _Samples,
    model: Any = None,
    threshold: float = 0.5,
    sampling_rate: int = 16000,
    min_speech_duration_ms: int = 250,
    max_speech_duration_s: float = float("inf"),
    min_silence_duration_ms: int = 100,
    speech_pad_ms: int = 30,
    return_seconds: bool = False,
    time_resolution: int = 1,
    visualize_probs: bool = False,
    progress_tracking_callback: Callable[[float], object] | None = None,
    neg_threshold: float | None = None,
    window_size_samples: int = 512,
    min_silence_at_max_speech: int = 98,
    use_max_poss_sil_at_max_speech: bool = True,
) -> _Timestamps:
    """Where speech is in `audio`, as silero-vad's function of this name; `model` is not
    asked, and `window_size_samples` does nothing, as there. The GIL is free while it looks."""
    audio, rate, step = _decimated(audio, sampling_rate)
    audio = _buffer(audio)
    found = _probabilities(audio, rate, progress_tracking_callback)
    return get_speech_timestamps_from_probs(
        found,
        rate,
        threshold,
        min_speech_duration_ms,
        max_speech_duration_s,
        min_silence_duration_ms,
        speech_pad_ms,
        return_seconds,
        time_resolution,
        visualize_probs,
        neg_threshold,
        min_silence_at_max_speech,
        use_max_poss_sil_at_max_speech,
        len(audio),
        step,
    )


def _probabilities(
    audio: Any, rate: int, tell: Callable[[float], object] | None
) -> array.array[float]:
    vad = v2m_engine.VADProcessor()
    if tell is None:
        return vad.probabilities(audio, sample_rate=rate)
    window, length = rate * 32 // 1000, len(audio)
    found = array.array("f")
    for begin in range(0, length, window):
        piece = audio[begin : begin + window]
        if len(piece) < window:
            # Filled up with silence, in the audio's own type.
            padded = array.array("f" if memoryview(piece).format == "f" else "h", bytes(piece))
            padded.extend([0] * (window - len(padded)))
            piece = padded
        found += vad.probabilities(piece, sample_rate=rate, resume=True)
        tell(min(begin + window, length) / length * 100)
    return found


def get_speech_timestamps_from_probs(
    speech_probs: Sequence[float],
    sampling_rate: int = 16000,
    threshold: float = 0.5,
    min_speech_duration_ms: int = 250,
    max_speech_duration_s: float = float("inf"),
    min_silence_duration_ms: int = 100,
    speech_pad_ms: int = 30,
    return_seconds: bool = False,
    time_resolution: int = 1,
    visualize_probs: bool = False,
    neg_threshold: float | None = None,
    min_silence_at_max_speech: int = 98,
    use_max_poss_sil_at_max_speech: bool = True,
    audio_length_samples: int | None = None,
    step: int = 1,
) -> _Timestamps:
    """Where speech is by the probabilities of its windows."""
    vad = _processor(
        threshold,
        min_speech_duration_ms,
        max_speech_duration_s,
        min_silence_duration_ms,
        speech_pad_ms,
        neg_threshold,
        min_silence_at_max_speech,
        use_max_poss_sil_at_max_speech,
    )
    found: list[Any] = list(
        vad.speech_timestamps_from(
            speech_probs,
            audio_length_samples,
            return_seconds=return_seconds,
            sample_rate=sampling_rate,
            time_resolution=time_resolution if return_seconds else None,
        )
    )
    if step > 1 and not return_seconds:
        found = [{edge: place * step for edge, place in stamp.items()} for stamp in found]
    if visualize_probs:
        _visualize(speech_probs, 0.032)
    return found


def get_speech_timestamps_sequence(
    audio: _Samples, model: Any = None, *args: Any, max_frames: int | None = None, **named: Any
) -> _Timestamps:
    """`get_speech_timestamps`, which takes a recording at once anyway."""
    return get_speech_timestamps(audio, model, *args, **named)


def _visualize(probabilities: Sequence[float], step: float) -> None:
    import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]

    places = [n * step for n in range(len(probabilities))]
    pandas.DataFrame({"probs": list(probabilities)}, index=places).plot(
        figsize=(16, 8),
        kind="area",
        ylim=[0, 1.05],
        xlim=[0, len(probabilities) * step],
        xlabel="seconds",
        ylabel="speech probability",
        colormap="tab20",
    )


class VADIterator:
    """Speech's starts and ends in audio that comes window by window. `v2m_engine.VADStream`
    takes pieces of any size."""

    def __init__(
        self,
        model: Any,
        threshold: float = 0.5,
        sampling_rate: int = 16000,
        min_silence_duration_ms: int = 100,
        speech_pad_ms: int = 30,
    ) -> None:
        if sampling_rate not in (8000, 16000):
            raise ValueError("VADIterator does not support sampling rates other than [8000, 16000]")
        self.model: Any = model
        self.threshold: float = threshold
        self.sampling_rate: int = sampling_rate
        self.min_silence_samples: float = sampling_rate * min_silence_duration_ms / 1000
        self.speech_pad_samples: float = sampling_rate * speech_pad_ms / 1000
        self.reset_states()

    def reset_states(self) -> None:
        """Begins a new recording."""
        self.model.reset_states()
        self.triggered: bool = False
        self.temp_end: int = 0
        self.current_sample: int = 0

    def __call__(
        self, x: _Samples, return_seconds: bool = False, time_resolution: int = 1
    ) -> dict[str, Any] | None:
        """Takes the next window; `{"start": ...}` or `{"end": ...}` if that is known now."""
        window = len(x[0]) if getattr(x, "ndim", 1) == 2 else len(x)
        self.current_sample += window
        probability = self.model(x, self.sampling_rate).item()

        def place(sample: float) -> float:
            if not return_seconds:
                return int(sample)
            return round(sample / self.sampling_rate, time_resolution)

        if probability >= self.threshold:
            self.temp_end = 0
            if not self.triggered:
                self.triggered = True
                start = self.current_sample - self.speech_pad_samples - window
                return {"start": place(max(0, start))}
        elif probability < self.threshold - 0.15 and self.triggered:
            self.temp_end = self.temp_end or self.current_sample
            if self.current_sample - self.temp_end >= self.min_silence_samples:
                end = self.temp_end + self.speech_pad_samples - window
                self.temp_end, self.triggered = 0, False
                return {"end": place(end)}
        return None


def _samples(tss: _Timestamps, seconds: bool, sampling_rate: int | None) -> list[tuple[int, int]]:
    if not seconds:
        return [(stamp["start"], stamp["end"]) for stamp in tss]
    if not sampling_rate:
        raise ValueError("sampling_rate must be provided when seconds is True")
    return [
        (round(stamp["start"] * sampling_rate), round(stamp["end"] * sampling_rate))
        for stamp in tss
    ]


def _joined(parts: list[Any], wav: _Samples) -> Any:
    if _is_tensor(wav):
        return sys.modules["torch"].cat(parts)
    if hasattr(wav, "shape"):
        return sys.modules["numpy"].concatenate(parts)
    whole = wav[:0]
    for part in parts:
        whole = whole + part
    return whole


def collect_chunks(
    tss: _Timestamps, wav: _Samples, seconds: bool = False, sampling_rate: int | None = None
) -> Any:
    """The stretches `tss` of `wav`, one after the other."""
    return _joined([wav[a:b] for a, b in _samples(tss, seconds, sampling_rate)], wav)


def drop_chunks(
    tss: _Timestamps, wav: _Samples, seconds: bool = False, sampling_rate: int | None = None
) -> Any:
    """`wav` without the stretches `tss`."""
    parts, begin = [], 0
    for a, b in _samples(tss, seconds, sampling_rate):
        parts.append(wav[begin:a])
        begin = b
    return _joined([*parts, wav[begin:]], wav)


def read_audio(path: str | PathLike[str], sampling_rate: int = 16000) -> Any:
    """A file as one channel at `sampling_rate`, of any format that `v2m_engine.read_audio`
    reads."""
    return _like(v2m_engine.read_audio(path, sampling_rate))


def save_audio(path: str | PathLike[str], tensor: _Samples, sampling_rate: int = 16000) -> None:
    """One channel (or several: channels, samples) as a WAV file of 16 bits."""
    rows = list(tensor) if getattr(tensor, "ndim", 1) == 2 else [tensor]
    channels = [_pcm(_buffer(row)) for row in rows]
    frames = array.array("h", bytes(2 * len(channels) * len(channels[0])))
    for n, channel in enumerate(channels):
        frames[n :: len(channels)] = channel
    if sys.byteorder == "big":
        frames.byteswap()
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(sampling_rate)
        out.writeframes(frames.tobytes())


def _pcm(samples: Any) -> array.array[int]:
    view = memoryview(samples)
    if view.format == "h":
        return array.array("h", view.tobytes())
    return array.array("h", (max(-32768, min(32767, round(x * 32768))) for x in view))
