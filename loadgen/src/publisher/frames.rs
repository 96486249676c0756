//! A file's media, frame by frame; str0m makes the packets.

use std::time::{Duration, Instant};

use str0m::media::{Frequency, MediaTime, Mid, Pt};

use super::{BEHIND_MAX, Filed, Source, Style, add};
use crate::client::{Client, ClientError};
use crate::media::Encoded;

/// A file that begins anew when it ends.
pub(super) struct Frames {
    style: Style,
    filed: Filed,
    begin: Instant,
    video: Option<Player>,
    audio: Option<Player>,
}

/// Where one track of the file is.
struct Player {
    mid: Mid,
    pt: Pt,
    clock: Frequency,
    /// Of the next frame.
    at: usize,
    /// Times that the file has begun anew.
    round: u32,
    /// Shown before the next frame instead of what lies between: an index of a keyframe.
    jump: bool,
}

impl Player {
    fn new((mid, pt): (Mid, Pt), clock: Frequency) -> Self {
        Self {
            mid,
            pt,
            clock,
            at: 0,
            round: 0,
            jump: false,
        }
    }

    fn due(&self, frames: &[Encoded], length: Duration) -> Duration {
        let at = frames.get(self.at).map_or(length, |frame| frame.at);
        length * self.round + at
    }

    /// The frame to be sent now. Asked for a keyframe, it is the one that the present frames go back to.
    fn next<'a>(&mut self, frames: &'a [Encoded]) -> Option<&'a Encoded> {
        if std::mem::take(&mut self.jump) {
            let back = frames.get(..=self.at)?.iter().rposition(|frame| frame.keyframe);
            return frames.get(back?);
        }
        let frame = frames.get(self.at)?;
        self.at += 1;
        if self.at >= frames.len() {
            (self.at, self.round) = (0, self.round + 1);
        }
        Some(frame)
    }
}

impl Frames {
    pub(super) fn new(client: &Client, style: &Style, filed: Filed) -> Self {
        Self {
            style: style.clone(),
            filed,
            begin: Instant::now(),
            video: client
                .video
                .map(|media| Player::new(media, Frequency::NINETY_KHZ)),
            audio: client
                .audio
                .map(|media| Player::new(media, Frequency::FORTY_EIGHT_KHZ)),
        }
    }

    fn tracks(&mut self) -> [Option<(&mut Player, &[Encoded])>; 2] {
        let media = &self.filed.media;
        let video = media.video.as_ref().map(|(_, frames)| frames.as_slice());
        let audio = media.audio.as_deref();
        [self.video.as_mut().zip(video), self.audio.as_mut().zip(audio)]
    }
}

impl Source for Frames {
    fn due(&self) -> Instant {
        let media = &self.filed.media;
        let video = self.video.as_ref().zip(media.video.as_ref());
        let audio = self.audio.as_ref().zip(media.audio.as_ref());
        let next = [
            video.map(|(player, (_, frames))| player.due(frames, media.length)),
            audio.map(|(player, frames)| player.due(frames, media.length)),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(Duration::MAX);
        self.begin.checked_add(next).unwrap_or(self.begin)
    }

    fn turn(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let (now, begin, length) = (Instant::now(), self.begin, self.filed.media.length);
        let (style, times) = (self.style.clone(), self.filed.times.clone());
        for (player, frames) in self.tracks().into_iter().flatten() {
            loop {
                let due = player.due(frames, length);
                if begin + due > now {
                    break;
                }
                let late = now - begin - due > BEHIND_MAX;
                let Some(frame) = player.next(frames) else { break };
                if late {
                    add(&style.sending.late_frames, 1);
                    continue;
                }
                add(&style.sending.frames, 1);
                add(
                    &style.sending.keyframes,
                    u64::from(frame.keyframe && player.clock == Frequency::NINETY_KHZ),
                );
                add(&style.sending.bytes, frame.data.len() as u64);
                times.record(&frame.data, style.clock.now());
                let time = MediaTime::from(due).rebase(player.clock);
                if let Some(writer) = client.rtc.writer(player.mid) {
                    writer.write(player.pt, now, time, frame.data.as_slice())?;
                }
                client.flush()?;
            }
        }
        Ok(())
    }

    fn ask_keyframe(&mut self) {
        if let Some(player) = &mut self.video {
            player.jump = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ms: u64, keyframe: bool) -> Encoded {
        Encoded {
            at: Duration::from_millis(ms),
            keyframe,
            data: vec![u8::try_from(ms / 100).unwrap()],
        }
    }

    #[test]
    fn a_file_goes_round_and_back_to_a_keyframe() {
        let frames = [
            frame(0, true),
            frame(100, false),
            frame(200, true),
            frame(300, false),
        ];
        let length = Duration::from_millis(400);
        let mut player = Player::new((Mid::new(), Pt::new_with_value(96)), Frequency::NINETY_KHZ);
        let mut sent = Vec::new();
        for number in 0..7 {
            player.jump |= number == 4;
            let due = player.due(&frames, length).as_millis();
            sent.push((due, player.next(&frames).unwrap().data[0]));
        }
        // The fifth is a keyframe again; then it goes on where it was.
        assert_eq!(
            sent,
            [(0, 0), (100, 1), (200, 2), (300, 3), (400, 0), (400, 0), (500, 1)]
        );
    }
}
