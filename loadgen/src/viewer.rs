//! The ones that receive.

use std::time::{Duration, Instant};

use str0m::Event;
use str0m::media::Direction;
use str0m::rtp::{RtpPacket, Ssrc};
use tokio::sync::{mpsc, watch};

use crate::client::{CONNECT, Client, ClientError, Request};
use crate::media::{Clock, begins_keyframe, stamp_of};
use crate::quantiles::Quantiles;

/// How often a viewer without packets looks at the phase.
const LOOK: Duration = Duration::from_millis(100);

/// What everybody is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Joining; nothing counts.
    Join,
    /// Packets count.
    Measure,
    /// All leave.
    Done,
}

/// Times of one viewer, from its POST on.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Joined {
    /// To the end of the DTLS handshake.
    pub(crate) connected: Option<Duration>,
    /// To the first RTP packet.
    pub(crate) first_packet: Option<Duration>,
    /// To the last packet of the first keyframe that came whole.
    pub(crate) first_keyframe: Option<Duration>,
}

/// What one viewer counted while measuring.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) joined: Joined,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Never came, also not as retransmission.
    pub(crate) lost: u64,
    /// Packets without a stamp of ours.
    pub(crate) foreign: u64,
    pub(crate) delay: Quantiles,
}

/// One SSRC while measuring.
#[derive(Debug)]
struct Stream {
    ssrc: Ssrc,
    first: u64,
    last: u64,
    packets: u64,
}

impl Stream {
    /// Packets that are missing between the first and the last. str0m drops duplicates.
    fn lost(&self) -> u64 {
        (self.last - self.first + 1).saturating_sub(self.packets)
    }
}

/// A keyframe on its way.
#[derive(Debug, Default)]
struct Keyframe {
    next: Option<u64>,
}

impl Keyframe {
    /// Whether this packet completes it. Out of order, it starts over with the next one.
    fn completes(&mut self, sequence: u64, marker: bool, payload: &[u8]) -> bool {
        if begins_keyframe(payload) {
            self.next = Some(sequence);
        }
        if self.next != Some(sequence) {
            self.next = None;
            return false;
        }
        self.next = Some(sequence + 1);
        marker
    }
}

struct Viewer {
    begin: Instant,
    clock: Clock,
    seen: Seen,
    streams: Vec<Stream>,
    keyframe: Keyframe,
    measuring: bool,
}

/// Watches until the phase is `Done`. `ready` hears once, when the first packet came.
pub(crate) async fn run(
    request: Request<'_>,
    clock: Clock,
    mut phase: watch::Receiver<Phase>,
    ready: mpsc::UnboundedSender<()>,
) -> Result<Seen, ClientError> {
    debug_assert_eq!(request.direction, Direction::RecvOnly);
    let begin = Instant::now();
    let mut client = Client::join(&request).await?;
    let mut viewer = Viewer {
        begin,
        clock,
        seen: Seen::default(),
        streams: Vec::new(),
        keyframe: Keyframe::default(),
        measuring: false,
    };
    let mut ready = Some(ready);
    loop {
        match *phase.borrow_and_update() {
            Phase::Done => break,
            Phase::Measure => viewer.measuring = true,
            Phase::Join => {}
        }
        let event = client.next(Instant::now() + LOOK).await?;
        match event {
            Some(Event::Connected) => viewer.seen.joined.connected = Some(begin.elapsed()),
            Some(Event::RtpPacket(packet)) => {
                viewer.packet(&packet);
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
            }
            Some(_) => {}
            None if viewer.seen.joined.connected.is_none() && begin.elapsed() > CONNECT => {
                return Err(ClientError::Missing(
                    "way to its candidate: a viewer did not connect",
                ));
            }
            None => {}
        }
    }
    viewer.seen.lost = viewer.streams.iter().map(Stream::lost).sum();
    client.leave().await?;
    Ok(viewer.seen)
}

impl Viewer {
    fn packet(&mut self, packet: &RtpPacket) {
        let sequence = *packet.seq_no;
        let joined = &mut self.seen.joined;
        joined.first_packet.get_or_insert_with(|| self.begin.elapsed());
        if joined.first_keyframe.is_none()
            && self
                .keyframe
                .completes(sequence, packet.header.marker, &packet.payload)
        {
            joined.first_keyframe = Some(self.begin.elapsed());
        }
        if self.measuring {
            self.count(packet.header.ssrc, sequence, &packet.payload);
        }
    }

    fn count(&mut self, ssrc: Ssrc, sequence: u64, payload: &[u8]) {
        match self.streams.iter_mut().find(|stream| stream.ssrc == ssrc) {
            // From before measuring began.
            Some(stream) if sequence < stream.first => return,
            Some(stream) => {
                stream.last = stream.last.max(sequence);
                stream.packets += 1;
            }
            None => self.streams.push(Stream {
                ssrc,
                first: sequence,
                last: sequence,
                packets: 1,
            }),
        }
        self.seen.packets += 1;
        self.seen.bytes += payload.len() as u64;
        match stamp_of(payload) {
            Some(stamp) => self.seen.delay.add(self.clock.now().saturating_sub(stamp)),
            None => self.seen.foreign += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Shape, Video};

    fn viewer() -> Viewer {
        Viewer {
            begin: Instant::now(),
            clock: Clock::start(),
            seen: Seen::default(),
            streams: Vec::new(),
            keyframe: Keyframe::default(),
            measuring: true,
        }
    }

    #[test]
    fn one_percent_loss_reads_as_one_percent() {
        let mut viewer = viewer();
        for sequence in (1000..11_000u64).filter(|sequence| sequence % 100 != 50) {
            viewer.count(7.into(), sequence, &[0; 50]);
        }
        let lost: u64 = viewer.streams.iter().map(Stream::lost).sum();
        assert_eq!(
            (lost, viewer.seen.packets, viewer.seen.foreign),
            (100, 9900, 9900)
        );
    }

    #[test]
    fn reordering_is_no_loss_and_what_came_before_does_not_count() {
        let mut viewer = viewer();
        for sequence in [100, 102, 101, 99, 104, 103] {
            viewer.count(7.into(), sequence, &[]);
        }
        viewer.count(8.into(), 5, &[]);
        let lost: u64 = viewer.streams.iter().map(Stream::lost).sum();
        assert_eq!((lost, viewer.seen.packets), (0, 6));
    }

    #[test]
    fn a_keyframe_counts_when_it_is_whole() {
        let shape = Shape {
            kbit_per_second: 1000,
            frames_per_second: 30,
            packet: 1100,
            seed: 1,
        };
        let mut video = Video::new(shape);
        let payloads = video.frame(true, Duration::ZERO);
        let last = payloads.len() - 1;
        assert!(last > 1);
        let run = |skip: Option<usize>| {
            let mut keyframe = Keyframe::default();
            payloads
                .iter()
                .enumerate()
                .filter(|(index, _)| Some(*index) != skip)
                .any(|(index, payload)| keyframe.completes(50 + index as u64, index == last, payload))
        };
        assert!(run(None));
        assert!(!run(Some(0)) && !run(Some(1)));
    }

    #[test]
    fn delay_is_from_the_stamp() {
        let mut viewer = viewer();
        let payload = crate::media::audio(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(50));
        viewer.count(7.into(), 1, &payload);
        assert!(viewer.seen.delay.at(0.5).is_some_and(|ms| ms >= 50.0));
    }
}
