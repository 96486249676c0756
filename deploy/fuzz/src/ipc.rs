//! What comes in at the control socket, at either end.

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use weever_proto::limits::MAX_FRAME;
use weever_proto::{ControlCodec, FrameError, FromShard, ShardCodec, ToShard};

/// Longest input that is also fed byte by byte.
const MAX_DRIPPED: usize = 512;

/// Frames that a data plane reads.
pub fn to_shard(data: &[u8]) {
    check::<ToShard, _, _>(data, ShardCodec, ControlCodec);
}

/// Frames that the control plane reads.
pub fn from_shard(data: &[u8]) {
    check::<FromShard, _, _>(data, ControlCodec, ShardCodec);
}

/// Frames are the same however they are cut, and what was read is written and read again unchanged.
fn check<M, D, E>(data: &[u8], mut reader: D, mut writer: E)
where
    M: PartialEq + std::fmt::Debug + Clone,
    D: Decoder<Item = M, Error = FrameError> + Copy,
    E: Encoder<M, Error = FrameError>,
{
    let whole = read(data, data.len().max(1), reader);
    if data.len() <= MAX_DRIPPED {
        assert_eq!(read(data, 1, reader), whole, "byte by byte");
    }
    for message in whole.0 {
        let mut bytes = BytesMut::new();
        writer
            .encode(message.clone(), &mut bytes)
            .expect("what fitted in a frame still does");
        assert!(bytes.len() <= 4 + MAX_FRAME);
        assert_eq!(reader.decode(&mut bytes).expect("our own frame"), Some(message));
        assert!(bytes.is_empty(), "a frame is consumed whole");
    }
}

/// All messages before the first error, and whether there was one.
fn read<M, D>(data: &[u8], piece: usize, mut reader: D) -> (Vec<M>, bool)
where
    D: Decoder<Item = M, Error = FrameError>,
{
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    for piece in data.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            match reader.decode(&mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
            assert!(buffer.len() < before, "a message out of nothing");
            assert!(
                buffer.capacity() <= 2 * (4 + MAX_FRAME) + data.len(),
                "memory for more than a frame"
            );
        }
    }
    (messages, false)
}
