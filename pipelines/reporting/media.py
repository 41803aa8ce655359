"""Pictures and sounds of stretches of a recording.

A picture is the log-mel spectrogram that the model sees (``tagger.logmel``), grey on white: what is
drawn over it, and on which ground it stands, is the page's. Sounds are MP3, which every browser
plays.
"""

import io
from typing import Final

import av
import numpy as np
import soxr

from pipelines.reporting.hearing import Sound
from tagger.arrays import FloatArray
from tagger.logmel import HOP_LENGTH, N_BANDS, SAMPLE_RATE_HZ, SILENCE, log_mel

SOUND_RATE_HZ: Final = 32_000
SOUND_BITS_PER_S: Final = 64_000
MIME: Final = {".webp": "image/webp", ".mp3": "audio/mpeg"}

_PICTURE_QUALITY: Final = 70  # of WebP, 0 to 100
_SHADES: Final = (10.0, 99.9)  # percentiles of the values that are white and black
_LOUD: Final = 0.9  # peak of what is heard
_DOTS_PER_INCH: Final = 100


def frames(sound: Sound, peak: float) -> FloatArray:
    """Log-mel frames, (n_frames, 64), of a stretch of a recording; one, silent, of a short one.

    Parameters
    ----------
    peak : of the recording, which normalisation makes 1
    """
    waveform = sound.samples / np.float32(peak or 1.0)
    if sound.sample_rate_hz != SAMPLE_RATE_HZ:
        waveform = soxr.resample(waveform, sound.sample_rate_hz, SAMPLE_RATE_HZ, "HQ")
    found = log_mel(waveform)
    return found if len(found) else np.full((1, N_BANDS), SILENCE)


def shades(bands: FloatArray) -> tuple[float, float]:
    """The values of log-mel frames that are white and black."""
    faintest, loudest = np.percentile(bands, _SHADES)
    return float(faintest), max(float(loudest), float(faintest) + 1.0)


def picture(bands: FloatArray, width: int, height: int, ends: tuple[float, float]) -> bytes:
    """A spectrogram as WebP without margins: time to the right, mel bands upwards, loud is dark.

    Parameters
    ----------
    bands : (n_frames, 64) log-mel frames
    width, height : pixels
    ends : values that are white and black
    """
    import librosa.display
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    inches = width / _DOTS_PER_INCH, height / _DOTS_PER_INCH
    canvas = FigureCanvasAgg(Figure(figsize=inches, dpi=_DOTS_PER_INCH))
    axes = canvas.figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    librosa.display.specshow(
        bands.T,
        sr=SAMPLE_RATE_HZ,
        hop_length=HOP_LENGTH,
        cmap="gray_r",
        vmin=ends[0],
        vmax=ends[1],
        ax=axes,
    )
    canvas.draw()  # type: ignore[no-untyped-call]
    sink = io.BytesIO()
    drawn = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    grey = Image.fromarray(np.ascontiguousarray(np.asarray(drawn)[..., 0]))
    grey.save(sink, "webp", quality=_PICTURE_QUALITY, method=3)
    return sink.getvalue()


class Mp3:
    """A sound that is encoded as its samples come in.

    Parameters
    ----------
    peak : the largest magnitude that may come; it is made as loud as may be
    """

    def __init__(self, sample_rate_hz: int, peak: float) -> None:
        self._resampled = soxr.ResampleStream(sample_rate_hz, SOUND_RATE_HZ, 1, "float32", "HQ")
        self._gain = np.float32(_LOUD / peak if peak else 1.0)
        self._sink = io.BytesIO()
        self._container = av.open(self._sink, "w", format="mp3")
        stream = self._container.add_stream("libmp3lame", rate=SOUND_RATE_HZ, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = SOUND_BITS_PER_S
        self._stream = stream

    def add(self, samples: FloatArray, last: bool = False) -> None:
        """Encode (n,) float32."""
        samples = self._resampled.resample_chunk(self._gain * samples, last)
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(samples[None].clip(-1, 1), format="fltp", layout="mono")
        frame.sample_rate = SOUND_RATE_HZ
        self._container.mux(self._stream.encode(frame))

    def close(self) -> bytes:
        """The whole file."""
        self.add(np.empty(0, np.float32), last=True)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.getvalue()


def mp3(sound: Sound) -> bytes:
    """A stretch of a recording to be heard."""
    encoder = Mp3(sound.sample_rate_hz, float(np.abs(sound.samples).max(initial=0.0)))
    encoder.add(sound.samples)
    return encoder.close()
