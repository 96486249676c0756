//! Real media from a file: MP4, WebM or IVF, in memory, frame by frame.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::Codec;

mod ivf;
mod mp4;
mod webm;

/// Files are held in memory.
const SIZE_MAX: u64 = 512 * 1024 * 1024;
/// Reading that is enough for seconds at most.
const READ_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub(crate) enum MediaFileError {
    #[error("{0} can't be read: {1}")]
    Read(String, std::io::Error),
    #[error("{0} is larger than {max} MiB", max = SIZE_MAX / 1024 / 1024)]
    TooLarge(String),
    #[error("{0} is neither MP4, WebM nor IVF")]
    Unknown(String),
    #[error("{path} is damaged: {what}")]
    Damaged { path: String, what: String },
    #[error("{path} holds {codec}, which is not sent here; convert it: ffmpeg -i {path} {hint}")]
    Codec {
        path: String,
        codec: String,
        hint: &'static str,
    },
    #[error("{0} has no video or audio")]
    Empty(String),
    #[error("{0} has no keyframe, so nobody could begin to watch")]
    NoKeyframe(String),
    #[error(
        "{0} has B-frames, which WebRTC can't show; convert it: ffmpeg -i {0} -c:v libx264 -bf 0 -c:a libopus out.mp4"
    )]
    BFrames(String),
}

/// One frame as its encoder made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Since the first one.
    pub(crate) at: Duration,
    pub(crate) keyframe: bool,
    pub(crate) data: Vec<u8>,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MediaFile {
    pub(crate) video: Option<(Codec, Vec<Encoded>)>,
    /// Opus.
    pub(crate) audio: Option<Vec<Encoded>>,
    /// Until it begins anew.
    pub(crate) length: Duration,
}

/// What a parser found before it was checked.
type Found = Result<MediaFile, Failure>;

/// Why a parser gave up, without the file's name.
#[derive(Debug)]
enum Failure {
    Damaged(String),
    Codec(String, &'static str),
    BFrames,
}

impl MediaFile {
    pub(crate) fn open(path: &str) -> Result<Self, MediaFileError> {
        let read = |error| MediaFileError::Read(path.to_owned(), error);
        let size = std::fs::metadata(Path::new(path)).map_err(read)?.len();
        if size > SIZE_MAX {
            return Err(MediaFileError::TooLarge(path.to_owned()));
        }
        Self::parse(path, std::fs::read(path).map_err(read)?)
    }

    fn parse(path: &str, bytes: Vec<u8>) -> Result<Self, MediaFileError> {
        let parse = match &*bytes {
            [b'D', b'K', b'I', b'F', ..] => ivf::parse,
            [0x1A, 0x45, 0xDF, 0xA3, ..] => webm::parse,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => mp4::parse,
            _ => return Err(MediaFileError::Unknown(path.to_owned())),
        };
        let path = path.to_owned();
        let mut file = guarded(move || parse(&bytes), READ_MAX).map_err(|failure| match failure {
            Failure::Damaged(what) => MediaFileError::Damaged {
                path: path.clone(),
                what,
            },
            Failure::Codec(codec, hint) => MediaFileError::Codec {
                path: path.clone(),
                codec,
                hint,
            },
            Failure::BFrames => MediaFileError::BFrames(path.clone()),
        })?;
        if let Some((_, frames)) = &mut file.video {
            let Some(first) = frames.iter().position(|frame| frame.keyframe) else {
                return Err(MediaFileError::NoKeyframe(path));
            };
            frames.drain(..first);
        }
        if file.video.is_none() && file.audio.is_none() {
            return Err(MediaFileError::Empty(path));
        }
        file.begin_at_zero();
        Ok(file)
    }

    /// Video's first keyframe is the beginning; what lies before is left out.
    fn begin_at_zero(&mut self) {
        let mut tracks: Vec<&mut Vec<Encoded>> = Vec::new();
        tracks.extend(self.video.as_mut().map(|(_, frames)| frames));
        tracks.extend(self.audio.as_mut());
        let begin = tracks
            .first()
            .and_then(|frames| frames.first())
            .map_or(Duration::ZERO, |frame| frame.at);
        let mut end = Duration::ZERO;
        for frames in tracks {
            frames.retain(|frame| frame.at >= begin);
            frames.iter_mut().for_each(|frame| frame.at -= begin);
            // The last frame is shown as long as the others on average.
            if let Some(last) = frames.last() {
                let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
                end = end.max(last.at + last.at / count.max(2).saturating_sub(1));
            }
        }
        self.length = end.max(Duration::from_millis(20));
    }
}

/// Runs a parser of others', which may stumble over a damaged file, or never come to its end.
fn guarded(parse: impl FnOnce() -> Found + Send + 'static, patience: Duration) -> Found {
    let (sender, receiver) = mpsc::channel();
    let parser = move || {
        let _ = sender.send(parse());
    };
    thread::Builder::new()
        .name("media file".to_owned())
        .spawn(parser)
        .map_err(|error| Failure::Damaged(format!("no thread to read it: {error}")))?;
    receiver.recv_timeout(patience).unwrap_or_else(|error| {
        Err(Failure::Damaged(match error {
            mpsc::RecvTimeoutError::Timeout => format!("its end was not found in {} s", patience.as_secs()),
            mpsc::RecvTimeoutError::Disconnected => "its parts contradict each other".to_owned(),
        }))
    })
}

/// Whether an encoded frame can be decoded by itself, where the container doesn't say.
fn is_keyframe(codec: Codec, data: &[u8]) -> bool {
    let first = data.first().copied().unwrap_or(0xFF);
    match codec {
        // RFC 6386 §9.1.
        Codec::Vp8 => first & 1 == 0,
        // The VP9 bitstream's §6.2: marker, profile, show_existing_frame, frame_type.
        Codec::Vp9 => first & 0x0C == 0,
        // A sequence header comes with each keyframe: OBU type 1, after a temporal delimiter, type 2, of two bytes.
        Codec::Av1 => [first, data.get(2).copied().unwrap_or(0xFF)]
            .iter()
            .any(|obu| obu >> 3 & 0x0F == 1),
        Codec::H264 | Codec::Opus => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &[u8]); 5] = [
        ("vp8.ivf", include_bytes!("../../tests/media/vp8.ivf")),
        ("vp8-opus.webm", include_bytes!("../../tests/media/vp8-opus.webm")),
        ("vp9.webm", include_bytes!("../../tests/media/vp9.webm")),
        ("h264.mp4", include_bytes!("../../tests/media/h264.mp4")),
        ("av1.webm", include_bytes!("../../tests/media/av1.webm")),
    ];

    #[test]
    fn each_container_is_read() {
        let codecs = [Codec::Vp8, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];
        for ((name, bytes), expected) in FILES.into_iter().zip(codecs) {
            let file = MediaFile::parse(name, bytes.to_vec()).unwrap();
            let (codec, frames) = file.video.unwrap();
            assert_eq!(codec, expected, "{name}");
            // 20 frames at 10 a second, a keyframe each second.
            assert_eq!(frames.len(), 20, "{name}");
            let keyframes: Vec<_> = frames
                .iter()
                .enumerate()
                .filter(|(_, frame)| frame.keyframe)
                .collect();
            assert_eq!(
                keyframes.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
                [0, 10],
                "{name}"
            );
            assert!(
                (file.length.as_secs_f64() - 2.0).abs() < 0.1,
                "{name}: {:?}",
                file.length
            );
            assert!(frames.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
    }

    #[test]
    fn sound_is_read_too() {
        let (name, bytes) = FILES[1];
        let audio = MediaFile::parse(name, bytes.to_vec()).unwrap().audio.unwrap();
        assert!((95..=102).contains(&audio.len()), "{}", audio.len());
    }

    #[test]
    fn h264_becomes_a_byte_stream_with_parameter_sets() {
        let (name, bytes) = FILES[3];
        let (_, frames) = MediaFile::parse(name, bytes.to_vec()).unwrap().video.unwrap();
        assert_eq!(frames[0].data[..5], [0, 0, 0, 1, 0x67]);
        assert_eq!(frames[1].data[..4], [0, 0, 0, 1]);
    }

    #[test]
    fn mistakes_are_told_plainly() {
        let told = |name: &str, bytes: &[u8]| MediaFile::parse(name, bytes.to_vec()).unwrap_err().to_string();
        assert!(told("x.txt", b"hello there").contains("neither MP4"));
        assert!(told("x", b"").contains("neither MP4"));
        let aac = told("aac.mp4", include_bytes!("../../tests/media/aac.mp4"));
        assert!(aac.contains("AAC") && aac.contains("libopus"), "{aac}");
        let b_frames = told("b.mp4", include_bytes!("../../tests/media/b-frames.mp4"));
        assert!(b_frames.contains("-bf 0"), "{b_frames}");
        let headless = &FILES[0].1[..32];
        assert!(
            told("empty.ivf", headless).contains("no keyframe"),
            "{}",
            told("e", headless)
        );
        assert!(
            MediaFile::open("/nowhere/x.mp4")
                .unwrap_err()
                .to_string()
                .contains("/nowhere/x.mp4")
        );
    }

    #[test]
    fn parsers_that_stumble_or_hang_are_survived() {
        let told = |found: Found| match found {
            Err(Failure::Damaged(what)) => what,
            other => panic!("{other:?}"),
        };
        let patience = Duration::from_secs(60);
        assert!(told(guarded(|| panic!("expected: a stumble"), patience)).contains("contradict"));
        let (_never, wait) = mpsc::channel::<()>();
        let hang = move || {
            let _ = wait.recv();
            Ok(MediaFile::default())
        };
        assert!(told(guarded(hang, Duration::ZERO)).contains("not found in 0 s"));
    }

    #[test]
    fn damaged_files_are_refused_or_read_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(5);
        for (name, bytes) in FILES {
            for _ in 0..150 {
                let _ = MediaFile::parse(name, bytes[..random.usize(..bytes.len())].to_vec());
                let mut flipped = bytes.to_vec();
                for _ in 0..3 {
                    let at = random.usize(..flipped.len().min(2000));
                    flipped[at] ^= 1 << random.u8(..8);
                }
                let _ = MediaFile::parse(name, flipped);
            }
        }
    }
}
