"""Videos as people have them: turned, cut short, joined, damaged, raw."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.footage import Frame, open_footage
from tests.actiseg_ros.bags import videos
from tests.actiseg_ros.bags.videos import HEIGHT, RATE, WIDTH

COUNT = 45
RIGHT, LEFT, DOWN, UP = (1, 0), (-1, 0), (0, 1), (0, -1)
TURNS = [
    (RIGHT, DOWN), (LEFT, DOWN), (LEFT, UP), (RIGHT, UP),
    (DOWN, RIGHT), (DOWN, LEFT), (UP, LEFT), (UP, RIGHT),
]  # fmt: skip


def read(video: Path, account: Account | None = None, **options: object) -> list[Frame]:
    account = account or Account(refuse=True)
    given = {name: options.pop(name) for name in ("fps", "stop") if name in options}
    footage = open_footage(video, "V", Path("none.csv"), account, **given)
    return list(footage.frames(stop=given.get("stop"), **options))


def times(frames: list[Frame]) -> np.ndarray:
    return np.array([frame.time for frame in frames])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return videos.index_in_front(folder / "plain.mp4")


@pytest.mark.parametrize(("right", "down"), TURNS)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_pictures_are_turned_as_the_display_matrix_says(
    plain: Path, right: tuple[int, int], down: tuple[int, int], scale: float
) -> None:
    account = Account(refuse=True)
    shown = read(videos.turned(plain, right, down, scale), account)[0].bgr
    stored = read(plain)[0].bgr
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    across = columns * right[0] + rows * down[0]
    along = columns * right[1] + rows * down[1]
    expected = np.zeros((np.ptp(along) + 1, np.ptp(across) + 1, 3), np.uint8)
    expected[along - along.min(), across - across.min()] = stored
    assert np.array_equal(shown, expected)
    assert bool(account.notes) == ((right, down) != (RIGHT, DOWN))


def test_older_videos_have_a_tag_for_it(folder: Path) -> None:
    path = folder / "tag.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.metadata["rotate"] = "90"
        frame = av.VideoFrame.from_ndarray(videos.picture(0), format="bgr24")
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    shown = read(path)[0].bgr
    assert shown.shape == (WIDTH, HEIGHT, 3)
    # The red bar of the top is at the right when the picture is turned clockwise.
    assert shown[WIDTH // 2, -4, 2] > 200 > shown[WIDTH // 2, 4, 2]


def test_a_slanted_video_is_refused(plain: Path) -> None:
    with pytest.raises(BagError, match=r"display matrix .* no turn by a multiple of 90"):
        read(videos.turned(plain, (0.7, 0.7), (-0.7, 0.7)))  # type: ignore[arg-type]


WHOLE = {
    "mpeg4.mp4": {},
    "b.mp4": {"codec": "libx264", "bf": 3},
    "h264.mkv": {"codec": "libx264"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "b.avi": {"codec": "libx264", "bf": 3},
    "mpeg4.avi": {"bf": 2},
    "h264.flv": {"codec": "libx264", "form": "flv"},
    "h264.ts": {"codec": "libx264", "form": "mpegts"},
    "late.ts": {"codec": "libx264", "form": "mpegts", "begin": 1000.0},
    "late.mkv": {"codec": "libx264", "begin": 100.0},
    "pieces.mp4": {"codec": "libx264", "g": 10,
                   "container": {"movflags": "frag_keyframe+empty_moov"}},
    "odd.mp4": {"size": (98, 66)},
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_whole_videos_of_every_kind_begin_at_zero_and_run_evenly(folder: Path, name: str) -> None:
    account = Account(refuse=True)
    frames = read(videos.write(folder / name, COUNT, **WHOLE[name]), account)
    assert times(frames) == pytest.approx(np.arange(COUNT) / RATE, abs=2e-3)
    assert [frame.number for frame in frames] == list(range(1, COUNT + 1))
    assert account.losses == []
    # In the order of display: the white bar grows.
    bars = [int((frame.bgr[-4, :, 1] > 128).sum()) for frame in frames]
    assert bars == sorted(bars)


@pytest.mark.parametrize("name", ["late.ts", "h264.mkv", "b.avi", "b.mp4"])
def test_a_start_far_in_is_found(folder: Path, name: str) -> None:
    path = videos.write(folder / f"long-{name}", 5 * RATE, g=15, **WHOLE[name])
    whole = {round(frame.time, 3): frame.bgr for frame in read(path)}
    found = read(path, start=3.0)
    assert times(found) == pytest.approx(np.arange(3 * RATE, 5 * RATE) / RATE, abs=2e-3)
    assert np.array_equal(found[0].bgr, whole[round(found[0].time, 3)])


CUT = {name: WHOLE[name] for name in ("mpeg4.avi", "h264.mkv", "vp9.webm", "h264.flv")}
CUT |= {"front.mp4": {"container": {"movflags": "faststart"}}, "late.mkv": WHOLE["late.mkv"]}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_broke_off_is_refused_with_both_numbers(folder: Path, name: str) -> None:
    whole = videos.write(folder / f"whole-{name}", 2 * COUNT, **{"g": 10, **CUT[name]})
    path = videos.cut(whole)
    with pytest.raises(BagError, match=r"cut short: .*promises \d.* \d.*; repair it .* skip"):
        read(path)
    account = Account(refuse=False)
    left = read(path, account)
    assert 0 < len(left) < 2 * COUNT
    assert "cut short" in account.losses[0]
    # What lies before the break is all there, and nobody minds the rest.
    stop = left[len(left) // 2].time
    assert len(read(path, stop=stop)) == len(left) // 2


def test_a_file_that_was_filled_up_with_zeros_is_refused(folder: Path) -> None:
    path = videos.hollow(videos.index_in_front(folder / "filled.mp4", 2 * COUNT))
    with pytest.raises(BagError, match=r"frame at about second .* is damaged"):
        read(path)
    account = Account(refuse=False)
    left = read(path, account)
    assert 0 < len(left) < 2 * COUNT
    assert "damaged and left out" in account.losses[0]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_frames_that_a_decoder_would_patch_up_are_left_out(folder: Path, codec: str) -> None:
    path = folder / f"noise-{codec}.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(COUNT):
            noise = np.random.default_rng(index).integers(0, 255, (8, 12, 3), np.uint8)
            bgr = np.kron(noise, np.ones((8, 8, 1), np.uint8))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(bgr, format="bgr24")))
        out.mux(stream.encode(None))
    path = videos.hurt(path, [0.3, 0.33, 0.36, 0.4])
    with pytest.raises(BagError, match="is damaged"):
        read(path)
    account = Account(refuse=False)
    assert 0 < len(read(path, account)) < COUNT
    assert "damaged and left out" in account.losses[0]


def test_time_that_starts_anew_goes_on(folder: Path) -> None:
    first = videos.write(folder / "one.ts", COUNT, codec="libx264", form="mpegts")
    later = videos.write(folder / "two.ts", COUNT, codec="libx264", form="mpegts", begin=100.0)
    for parts in ((first, first), (first, later), (later, first), (later, first, later)):
        account = Account(refuse=True)
        found = times(read(videos.joined(folder / "joined.ts", *parts), account))
        assert found == pytest.approx(np.arange(COUNT * len(parts)) / RATE, abs=0.07)
        assert (np.diff(found) > 0).all()
        assert len([loss for loss in account.losses if "the time jumps" in loss]) >= 1


def test_a_pause_is_kept_and_told(folder: Path) -> None:
    path = folder / "pause.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(videos.picture(index), format="bgr24")
            frame.pts = index if index < 10 else index + 90
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    account = Account(refuse=True)
    found = times(read(path, account))
    assert found[10] - found[9] == pytest.approx(91 / RATE, abs=2e-3)
    assert "no frame between the seconds 0.30 and 3.33" in account.notes
    assert account.losses == []


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("raw.h264", "libx264"),
        ("raw.hevc", "libx265"),
        ("raw.mjpeg", "mjpeg"),
        ("raw.m4v", "mpeg4"),
    ],
)
def test_a_stream_without_times_needs_a_rate(folder: Path, name: str, codec: str) -> None:
    path = videos.write(folder / name, COUNT, codec=codec, form=name.partition(".")[2])
    with pytest.raises(BagError, match=r"raw stream without time stamps; give .* --fps"):
        read(path)
    assert times(read(path, fps=12.5)) == pytest.approx(np.arange(COUNT) / 12.5)


def test_a_file_without_pictures_is_told(folder: Path) -> None:
    path = folder / "sound.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        samples = np.zeros((1, 800), np.int16)
        sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    with pytest.raises(BagError, match="has no video stream"):
        read(path)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
def test_second_zero_is_where_the_sound_begins(folder: Path, name: str) -> None:
    path = folder / f"sound-{name}"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("mp2" if name.endswith("ts") else "aac", rate=48000)
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(videos.picture(index), format="bgr24")
            frame.pts = index + RATE // 2
            out.mux(video.encode(frame))
        form = "s16" if name.endswith("ts") else "fltp"
        for index in range(2 * 48000 // 1152):
            samples = np.zeros((1 if form == "s16" else 2, 1152 * (1 + (form == "s16"))))
            samples = samples.astype(np.int16 if form == "s16" else np.float32)
            sound = av.AudioFrame.from_ndarray(samples, format=form, layout="stereo")
            sound.sample_rate, sound.pts = 48000, index * 1152
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    account = Account(refuse=True)
    assert times(read(path, account))[[0, -1]] == pytest.approx([0.5, 0.5 + 44 / 30], abs=0.05)
    assert account.losses == []
