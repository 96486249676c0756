//! A node's state as fields: `p/room/id` holds a publisher as JSON, `v/room` a number of viewers.

use crate::directory::Field;
use crate::names::{FullId, RoomName};
use crate::rooms::{LivePublisher, LocalNews, NodeNews, NodeState};

/// Longest value, bytes. A publisher has some kilobytes at most.
const MAX_VALUE: usize = 64 * 1024;
/// Most fields of one node.
pub(super) const MAX_FIELDS: usize = 200_000;

fn publisher_field(room: &RoomName, id: &FullId) -> String {
    format!("p/{room}/{id}")
}

fn publisher(one: &LivePublisher) -> (String, Option<String>) {
    // Of strings and numbers: it always has a JSON form.
    (
        publisher_field(&one.room, &one.id),
        serde_json::to_string(one).ok(),
    )
}

fn viewers(room: &RoomName, count: u32) -> (String, Option<String>) {
    (format!("v/{room}"), (count > 0).then(|| count.to_string()))
}

/// What news changes. `None`: it is about a claim, or a word.
pub(super) fn changed(news: &LocalNews) -> Option<Field> {
    match news {
        LocalNews::Published(one) => Some(publisher(one)),
        LocalNews::Unpublished { room, id } => Some((publisher_field(room, id), None)),
        LocalNews::Viewers { room, count } => Some(viewers(room, *count)),
        LocalNews::Said { .. } | LocalNews::Released(_) | LocalNews::Silent { .. } => None,
    }
}

/// All fields of a state.
pub(super) fn emit(state: &NodeState) -> impl Iterator<Item = Field> {
    let publishers = state.publishers.iter().map(publisher);
    publishers.chain(state.viewers.iter().map(|(room, count)| viewers(room, *count)))
}

/// What a field tells. `None`: it is none of ours.
pub(super) fn news((field, value): &Field) -> Option<NodeNews> {
    let mut parts = field.split('/');
    let kind = parts.next()?;
    let room = RoomName::new(parts.next()?).ok()?;
    let id = parts.next();
    if parts.next().is_some() || value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
        return None;
    }
    match (kind, id, value) {
        ("p", Some(id), Some(value)) => {
            let publisher: LivePublisher = serde_json::from_str(value).ok()?;
            let same = publisher.room == room && publisher.id.as_str() == id;
            same.then_some(NodeNews::Published(publisher))
        }
        ("p", Some(id), None) => {
            let id = FullId::new(id).ok()?;
            Some(NodeNews::Unpublished { room, id })
        }
        ("v", None, value) => {
            let count = value.as_ref().map_or(Ok(0), |value| value.parse()).ok()?;
            Some(NodeNews::Viewers { room, count })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (room, id) = (RoomName::new("r:{}").unwrap(), FullId::new("a\"+1").unwrap());
        let one = LivePublisher {
            room: room.clone(),
            id: id.clone(),
            session: 1,
            since_ms: 2,
            tracks: Vec::new(),
        };
        for (told, heard) in [
            (
                LocalNews::Published(one.clone()),
                NodeNews::Published(one.clone()),
            ),
            (
                LocalNews::Unpublished {
                    room: room.clone(),
                    id: id.clone(),
                },
                NodeNews::Unpublished {
                    room: room.clone(),
                    id,
                },
            ),
            (
                LocalNews::Viewers {
                    room: room.clone(),
                    count: 7,
                },
                NodeNews::Viewers {
                    room: room.clone(),
                    count: 7,
                },
            ),
            (
                LocalNews::Viewers {
                    room: room.clone(),
                    count: 0,
                },
                NodeNews::Viewers { room, count: 0 },
            ),
        ] {
            assert_eq!(news(&changed(&told).unwrap()), Some(heard));
        }
        let state = NodeState {
            publishers: vec![one],
            viewers: Vec::new(),
        };
        assert_eq!(emit(&state).count(), 1);
    }

    #[test]
    fn hostile_fields_are_none_of_ours() {
        let long = "9".repeat(MAX_VALUE + 1);
        for (field, value) in [
            ("", Some("1")),
            ("v/", Some("1")),
            ("v/r", Some("-1")),
            ("v/r", Some("many")),
            ("v/r", Some(long.as_str())),
            ("v/r/x", Some("1")),
            ("p/r", None),
            ("p/r/a", Some("{}")),
            (
                "p/r/a",
                Some(r#"{"room":"r","id":"b","session":1,"since_ms":2,"tracks":[]}"#),
            ),
            ("p/r/a/b", None),
            ("p/r r/a", None),
            ("incarnation", Some("x")),
        ] {
            assert_eq!(
                news(&(field.to_owned(), value.map(str::to_owned))),
                None,
                "{field}"
            );
        }
    }
}
