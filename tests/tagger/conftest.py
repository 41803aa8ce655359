"""For all tests of the library: recordings encoded on the spot, networks with random weights."""

import io
from collections.abc import Callable

import av
import numpy as np
import pytest
import soundfile
import torch

from tagger.attention import MultiLevelAttention
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.labels import Labelling
from tagger.vggish import VGGish, initialise

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """``encode(samples (n,) or (n, channels), rate, kind)`` -> bytes.

    Kinds are soundfile's ("WAV", "WAV:FLOAT", "OGG:OPUS") or PyAV's ("ipod/aac", "mp4/aac+video",
    "mp4/+video").
    """

    def _encode(samples: np.ndarray, rate: int, kind: str = "WAV") -> bytes:
        if "/" in kind:
            return _by_ffmpeg(samples.reshape(len(samples), -1), rate, *kind.split("/"))
        name, _, subtype = kind.partition(":")
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate, format=name, subtype=subtype or None)
        return buffer.getvalue()

    return _encode


def _by_ffmpeg(samples: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    codec, video, _ = codec.partition("+video")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        bit_rate = 64_000 * samples.shape[1]
        sound = output.add_stream(codec, rate=rate, bit_rate=bit_rate) if codec else None
        pictures = output.add_stream("mpeg4", rate=10, width=64, height=64) if video else None
        if sound:
            output.mux(_encoded_sound(sound, samples, rate))
        if pictures:
            output.mux(_encoded_pictures(pictures, 10 * len(samples) // rate))
    return buffer.getvalue()


def _encoded_sound(stream: av.AudioStream, samples: np.ndarray, rate: int) -> list[av.Packet]:
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[samples.shape[1]]
    stream.layout = layout
    context = stream.codec_context
    context.open()
    packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
    frames = [*resampler.resample(frame), *resampler.resample(None), None]
    return [packet for audio in frames for packet in stream.encode(audio)]


def _encoded_pictures(stream: av.VideoStream, n: int) -> list[av.Packet]:
    black = np.zeros((64, 64, 3), np.uint8)
    frames = [*(av.VideoFrame.from_ndarray(black) for _ in range(n)), None]
    return [packet for picture in frames for packet in stream.encode(picture)]


@pytest.fixture(scope="session")
def make_head() -> Callable[..., MultiLevelAttention]:
    """``make_head(n_classes, config, seed=0, labelling="one")`` -> a head, in evaluation mode.

    Its parameters and statistics are random.
    """

    def _make_head(
        n_classes: int, config: AttentionConfig, seed: int = 0, labelling: Labelling = "one"
    ) -> MultiLevelAttention:
        torch.manual_seed(seed)
        head = MultiLevelAttention(n_classes, config, labelling)
        for name, tensor in head.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.3, 3)
            elif tensor.is_floating_point():
                tensor.normal_(0.1, 0.5)
        return head.eval()

    return _make_head


@pytest.fixture(scope="session")
def make_extractor() -> Callable[..., VGGish]:
    """``make_extractor(config, seed=0)`` -> a VGGish with random weights, in evaluation mode.

    The weights keep the size of what passes through.
    """

    def _make_extractor(config: VGGishConfig, seed: int = 0) -> VGGish:
        torch.manual_seed(seed)
        network = VGGish(config)
        initialise(network)
        return network.eval()

    return _make_extractor
