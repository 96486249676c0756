//! What comes by the message bus.

use std::time::Instant;

use weever_core::relay::{Followers, Incoming, Key, Seals};
use weever_proto::Kind;
use weever_proto::relay::{Form, Message, Says};

/// A message, by its head, in clear and opened: read, written and read again it is the same, and both ends take it or refuse it.
pub fn relay(data: &[u8]) {
    let key = Key::new([7; 32]);
    let mut room = Vec::new();
    for keys in [&[][..], &[key]] {
        let mut seals = Seals::new(keys, 0).expect("good keys");
        let Ok(bytes) = seals.open("weever.media.1", data, &mut room) else {
            continue;
        };
        take(bytes);
    }
    if let Ok(Form::Plain(bytes)) = Form::parse(data) {
        take(bytes);
    }
}

fn take(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let mut written = Vec::new();
    message.emit(&mut written);
    assert!(
        written.len() <= bytes.len(),
        "we say nothing that may be left unsaid"
    );
    let again = Message::parse(&written).expect("our own message");
    assert_eq!(again.stamp, message.stamp);
    match (again.says, message.says) {
        (Says::Burst { packets, .. }, Says::Burst { packets: before, .. }) => {
            assert_eq!(before.len(), before.count(), "every packet that is announced");
            assert!(packets.eq(before));
        }
        (again, before) => assert_eq!(again, before),
    }
    let mut followers = Followers::default();
    let _ = followers.take(Instant::now(), message.stamp, &message.says);
    assert!(followers.count() <= 1);
    let mut incoming = Incoming::new(message.stamp.track, Kind::Video);
    if incoming.take(&message).is_ok() {
        assert!(incoming.take(&message).is_err(), "the same again is old");
    }
}
