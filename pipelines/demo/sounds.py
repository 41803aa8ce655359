"""The sounds of the demo: ten seconds of synthesis instead of a download.

Each function gives (n_samples,) float64 at ``rate`` hertz. They sketch how a sound is made, not any
recording of it: noise shaped by filters and envelopes, clicks, harmonic buzzes.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, fftconvolve, sosfilt

Sound = npt.NDArray[np.float64]


def _time(seconds: float, rate: int) -> Sound:
    return np.arange(int(seconds * rate)) / rate


def _noise(n: int, rng: np.random.Generator, rate: int, low_hz: float, high_hz: float) -> Sound:
    """White noise between two frequencies."""
    band = butter(2, [low_hz, min(high_hz, 0.49 * rate)], "bandpass", fs=rate, output="sos")
    shaped: Sound = sosfilt(band, rng.standard_normal(n))
    return shaped


def _pink(n: int, rng: np.random.Generator, rate: int, low_hz: float, high_hz: float) -> Sound:
    """Noise of equal power in every octave between two frequencies."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / rate)
    inside = (hz > low_hz) & (hz < high_hz)
    shaped: Sound = np.fft.irfft(spectrum * inside / np.sqrt(np.maximum(hz, low_hz) / low_hz), n)
    return shaped


def _in_a_yard(dry: Sound, rng: np.random.Generator, rate: int) -> Sound:
    """The same sound with the echoes of some walls, and a little wind."""
    time = _time(0.5, rate)
    echoes = rng.standard_normal(len(time)) * np.exp(-time * 12)
    wet: Sound = fftconvolve(dry, echoes / np.linalg.norm(echoes))[: len(dry)]
    wind = _pink(len(dry), rng, rate, 100, 3000)
    heard: Sound = dry + 0.5 * wet + 0.01 * wind / wind.std() * dry.std()
    return heard


def _strikes(n: int, at: npt.NDArray[np.int64], shapes: list[Sound]) -> Sound:
    """``shapes`` laid down one by one at the samples ``at``."""
    out = np.zeros(n)
    for start, shape in zip(at, shapes, strict=True):
        end = min(n, start + len(shape))
        out[start:end] += shape[: end - start]
    return out


def rain(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """Steady hiss, and drops upon it."""
    n = int(seconds * rate)
    hiss = _noise(n, rng, rate, 800, 14_000)
    drop = np.exp(-_time(0.006, rate) * 900)
    n_drops = int(60 * seconds)
    drops = [
        drop * np.sin(2 * np.pi * rng.uniform(1500, 5000) * _time(0.006, rate)) * rng.exponential()
        for _ in range(n_drops)
    ]
    return hiss + 1.5 * _strikes(n, rng.integers(0, n, n_drops), drops)


def surf(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """Waves that swell, break and run out."""
    time = _time(seconds, rate)
    swell = 0.4 + 0.6 * np.clip(np.sin(2 * np.pi * time / 5.0 - 1.0), 0, None)
    deep = _noise(len(time), rng, rate, 40, 400)
    foam = _noise(len(time), rng, rate, 300, 1500)
    return swell * (1.2 * deep + foam)


def ticking_clock(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """Two ticks a second, the second one lower."""
    n = int(seconds * rate)
    starts = np.arange(0.1, seconds, 0.5)
    time = _time(0.03, rate)
    ticks = [
        np.exp(-time * 350)
        * (np.sin(2 * np.pi * pitch * time) + 0.7 * rng.standard_normal(len(time)))
        for pitch in np.where(np.arange(len(starts)) % 2, 2600.0, 3400.0)
    ]
    return _strikes(n, (starts * rate).astype(np.int64), ticks)


def helicopter(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """A rotor that chops the air fourteen times a second, over an engine's drone."""
    time = _time(seconds, rate)
    chop = (0.5 + 0.5 * np.cos(2 * np.pi * 14.0 * time)) ** 3
    blades = _noise(len(time), rng, rate, 50, 250) * chop
    air = _pink(len(time), rng, rate, 100, 4000) * (0.3 + 0.7 * chop)
    drone = sum(np.sin(2 * np.pi * 95 * k * time + k) / k for k in range(1, 8))
    return 2.5 * blades + air + 0.1 * drone


def chainsaw(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """A two-stroke engine: a rough harmonic buzz that is revved up and down."""
    time = _time(seconds, rate)
    revving = 0.5 + 0.5 * np.tanh(4 * np.sin(2 * np.pi * 0.4 * time))
    phase = 2 * np.pi * np.cumsum(90 + 50 * revving) / rate
    buzz = sum(np.sin(k * phase + k) / k**0.7 for k in range(1, 50))
    rough = _noise(len(time), rng, rate, 300, 8000) * (0.5 + 0.5 * np.sign(np.sin(phase)))
    saw: Sound = (0.5 + 0.5 * revving) * (2.0 * buzz + 1.5 * rough)
    return saw


def crackling_fire(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """A soft roar, and snaps of every size."""
    n = int(seconds * rate)
    roar = 0.05 * _noise(n, rng, rate, 80, 1200)
    n_snaps = int(25 * seconds)
    time = _time(0.012, rate)
    snaps = [
        rng.exponential() ** 2
        * np.exp(-time * rng.uniform(300, 1500))
        * rng.standard_normal(len(time))
        for _ in range(n_snaps)
    ]
    return roar + _strikes(n, rng.integers(0, n, n_snaps), snaps)


def rooster(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """A crow: four syllables, the third held high, the last falling."""
    time = _time(seconds, rate) % 2.6
    turns = [0.0, 0.15, 0.35, 0.45, 0.65, 0.75, 1.5, 2.1]
    pitch = np.interp(time, turns, [500, 700, 620, 800, 750, 950, 900, 480])
    loud = np.interp(
        time, [0, 0.05, 0.3, 0.36, 0.6, 0.68, 1.6, 2.1], [0, 1, 0.2, 1, 0.2, 1, 0.9, 0]
    )
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formant = {1: 1.0, 2: 1.5, 3: 0.8, 4: 0.3}
    voice = sum(formant.get(k, 0.1) * np.sin(k * phase) for k in range(1, 9))
    rasp = 1 + 0.3 * np.sin(2 * np.pi * 60 * time)
    return _in_a_yard(loud * rasp * voice, rng, rate)


def crying_baby(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """Cries of a second each, gliding up and down, with vibrato."""
    time = _time(seconds, rate)
    inside = (time % 1.3) / 1.0
    pitch = 430 + 120 * np.sin(np.pi * np.clip(inside, 0, 1)) + 8 * np.sin(2 * np.pi * 7 * time)
    loud = np.where(inside < 1, np.sin(np.pi * np.clip(inside, 0, 1)) ** 0.5, 0.0)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formant = {2: 1.0, 3: 1.2, 6: 0.8, 7: 0.9, 8: 0.6}
    voice = sum(formant.get(k, 0.3) * np.sin(k * phase) for k in range(1, 14))
    return loud * (voice + 0.1 * _noise(len(time), rng, rate, 1000, 6000))


def barking_dog(seconds: float, rate: int, rng: np.random.Generator) -> Sound:
    """Barks of a fifth of a second."""
    n = int(seconds * rate)
    time = _time(0.22, rate)
    phase = 2 * np.pi * np.cumsum(300 + 350 * np.exp(-((time - 0.05) ** 2) / 0.003)) / rate
    loud = np.interp(time, [0, 0.02, 0.1, 0.22], [0, 1, 0.7, 0])
    voice = sum(np.sin(k * phase) / k for k in range(1, 9))
    starts = np.arange(0.1, seconds - 0.5, 0.7)
    barks = [loud * (voice + 0.6 * _noise(len(time), rng, rate, 500, 2500)) for _ in starts]
    return _in_a_yard(_strikes(n, (starts * rate).astype(np.int64), barks), rng, rate)


SOUNDS: Final[Mapping[str, Callable[[float, int, np.random.Generator], Sound]]] = {
    "rain": rain,
    "surf": surf,
    "ticking clock": ticking_clock,
    "helicopter": helicopter,
    "chainsaw": chainsaw,
    "crackling fire": crackling_fire,
    "rooster": rooster,
    "crying baby": crying_baby,
    "barking dog": barking_dog,
}
