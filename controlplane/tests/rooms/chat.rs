//! Chat between the members of a room.

use std::time::Duration;

use weever_proto::{Role, SessionId};

use crate::bench::Bench;
use crate::offers;
use crate::restart::another;

fn member(bench: &mut Bench, role: Role, name: &str) -> SessionId {
    let offer = match role {
        Role::Publisher => offers::speaker(),
        Role::Subscriber => offers::channel_only(),
    };
    let (session, ..) = bench.enter(role, name, &offer);
    bench.open_chat(session);
    session
}

fn chat_of(bench: &mut Bench, session: SessionId) -> Vec<String> {
    std::mem::take(&mut bench.held.get_mut(&session).unwrap().chat)
}

#[test]
fn what_one_says_all_hear_with_the_name_before_it() {
    let mut bench = Bench::new();
    let alice = member(&mut bench, Role::Publisher, "alice+1");
    let bob = member(&mut bench, Role::Subscriber, "bob");
    let carol = member(&mut bench, Role::Subscriber, "carol");
    // With a control channel only; with none at all.
    let (dave, ..) = bench.enter(Role::Subscriber, "dave", &offers::channel_only());
    bench.open_channel(dave);
    bench.enter(Role::Subscriber, "erin", &offers::player(&["VP8"]));
    bench.chat(alice, "good evening, everybody\n");
    bench.chat(bob, "STOP");
    for session in [alice, bob, carol] {
        assert_eq!(
            chat_of(&mut bench, session),
            ["alice+1 good evening, everybody\n", "bob STOP"]
        );
    }
    assert_eq!(bench.broadcasts, 2, "one command for all of a data plane");
    assert!(bench.held.contains_key(&bob), "chat is no signalling");
    assert!(
        !bench.held[&dave]
            .texts
            .iter()
            .any(|text| text.contains("alice+1 good"))
    );

    bench.close_chat(carol);
    bench.chat(alice, "bye");
    assert_eq!(chat_of(&mut bench, carol), [""; 0]);
    assert_eq!(chat_of(&mut bench, bob), ["alice+1 bye"]);
    let counts = bench.rooms.chat_counts();
    assert_eq!((counts.relayed, counts.refused), (3, 0));
}

#[test]
fn a_room_has_a_budget_of_copies_and_one_message_always_passes() {
    let mut bench = Bench::new();
    let alice = member(&mut bench, Role::Publisher, "alice");
    let mut viewers = Vec::new();
    for n in 0..499 {
        viewers.push(member(&mut bench, Role::Subscriber, &format!("v{n}")));
    }
    // 10,000 copies at once, then as many in a second: of 500 each.
    for _ in 0..100 {
        bench.chat(alice, "hello");
    }
    assert_eq!(chat_of(&mut bench, viewers[0]).len(), 21);
    let heard = chat_of(&mut bench, alice);
    let (told, answers): (Vec<_>, Vec<_>) = heard.iter().partition(|text| *text == "alice hello");
    assert_eq!((told.len(), answers.len()), (21, 79));
    assert!(answers.iter().all(|answer| answer.starts_with("* not sent: ")));
    assert_eq!(
        chat_of(&mut bench, viewers[1]).len(),
        21,
        "answers are the sender's"
    );
    for _ in 0..1000 {
        bench.pass(Duration::from_millis(10));
        bench.chat(viewers[3], "hi");
    }
    assert_eq!(chat_of(&mut bench, viewers[0]).len(), 200);
    assert_eq!(bench.rooms.chat_counts().relayed, 221);
    assert_eq!(bench.rooms.chat_counts().refused, 79 + 800);
    bench.pass(Duration::from_secs(3600));
    for _ in 0..100 {
        bench.chat(alice, "hello");
    }
    assert_eq!(
        chat_of(&mut bench, viewers[0]).len(),
        21,
        "pauses are not saved up"
    );
}

#[test]
fn chat_goes_on_after_a_restart() {
    let mut bench = Bench::new();
    let alice = member(&mut bench, Role::Publisher, "alice");
    let bob = member(&mut bench, Role::Subscriber, "bob");
    let mut bench = another(bench, 5);
    bench.chat(bob, "still there?");
    assert_eq!(chat_of(&mut bench, alice), ["bob still there?"]);
}
