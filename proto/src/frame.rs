//! Frames: a 4-byte big-endian length, then that many bytes of protobuf.
//!
//! [`ControlCodec`] is the control plane's end of the socket, [`ShardCodec`] the data plane's; both plug into
//! `tokio_util::codec::Framed` and are pure over byte buffers.
//!
//! A frame, an event or a command of a kind that this build doesn't know is skipped: a newer minor version added it.

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use tokio_util::codec::{Decoder, Encoder};

use crate::{FromShard, Invalid, ToShard, limits::MAX_FRAME, wire};

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// Why a frame was refused. The stream is out of step after any of them: close it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The prefix announces more than [`MAX_FRAME`].
    #[error("a frame of {0} bytes, at most {MAX_FRAME} are allowed")]
    Oversized(usize),
    /// The body is no protobuf message of this protocol.
    #[error("a frame that is not protobuf: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// It is, but breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The socket failed or ended within a frame.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn decode<M: Message + Default>(src: &mut BytesMut) -> Result<Option<M>, FrameError> {
    let Some(prefix) = src.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*prefix) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::Oversized(len));
    }
    if src.len() < PREFIX + len {
        src.reserve(PREFIX + len - src.len());
        return Ok(None);
    }
    src.advance(PREFIX);
    if len == 0 {
        return Err(Invalid::missing("frame").into());
    }
    let body = src.split_to(len);
    Ok(Some(M::decode(body)?))
}

/// The next frame of a kind that `known` knows.
fn next<M: Message + Default, T>(
    src: &mut BytesMut,
    known: impl Fn(M) -> Result<Option<T>, Invalid>,
) -> Result<Option<T>, FrameError> {
    while let Some(message) = decode::<M>(src)? {
        if let Some(frame) = known(message)? {
            return Ok(Some(frame));
        }
    }
    Ok(None)
}

fn encode(message: &impl Message, dst: &mut BytesMut) -> Result<(), FrameError> {
    let len = message.encoded_len();
    let prefix = u32::try_from(len)
        .ok()
        .filter(|_| len <= MAX_FRAME)
        .ok_or(FrameError::Oversized(len))?;
    dst.reserve(PREFIX + len);
    dst.put_u32(prefix);
    message.encode_raw(dst);
    Ok(())
}

/// The data plane's end: reads [`ToShard`], writes [`FromShard`].
#[derive(Debug, Default, Clone, Copy)]
pub struct ShardCodec;

impl Decoder for ShardCodec {
    type Item = ToShard;
    type Error = FrameError;
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ToShard>, FrameError> {
        next(src, ToShard::known)
    }
}

impl Encoder<FromShard> for ShardCodec {
    type Error = FrameError;
    fn encode(&mut self, message: FromShard, dst: &mut BytesMut) -> Result<(), FrameError> {
        encode(&wire::FromShard::from(message), dst)
    }
}

/// The control plane's end: reads [`FromShard`], writes [`ToShard`].
#[derive(Debug, Default, Clone, Copy)]
pub struct ControlCodec;

impl Decoder for ControlCodec {
    type Item = FromShard;
    type Error = FrameError;
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<FromShard>, FrameError> {
        next(src, FromShard::known)
    }
}

impl Encoder<ToShard> for ControlCodec {
    type Error = FrameError;
    fn encode(&mut self, message: ToShard, dst: &mut BytesMut) -> Result<(), FrameError> {
        encode(&wire::ToShard::from(message), dst)
    }
}
