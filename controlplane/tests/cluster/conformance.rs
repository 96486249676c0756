//! What every directory does, one test for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use weever_controlplane::directory::memory::MemoryDirectory;
use weever_controlplane::directory::redis::place::Place;
use weever_controlplane::directory::redis::{RedisDirectory, RedisSettings};
use weever_controlplane::directory::tokens::TokenKey;
use weever_controlplane::directory::{
    About, Claimed, Claiming, Directory, Entered, Heard, LEASE, Member, Message, Name, Renewed,
};
use weever_controlplane::metrics::Metrics;
use weever_controlplane::names::{FullId, RoomName};
use weever_controlplane::rooms::NodeName;
use weever_proto::Role;

use crate::redis_server::RedisServer;

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn redis(url: &str, prefix: &str) -> Arc<dyn Directory> {
    let settings = RedisSettings {
        place: Place::parse(url).unwrap(),
        prefix: prefix.into(),
    };
    let metrics = Metrics::new("test").directory();
    Arc::new(RedisDirectory::start(settings, metrics).await.unwrap())
}

fn member(node: &str, life: u32) -> (Member, About) {
    let incarnation = format!("{life:016x}");
    let about = About {
        incarnation: incarnation.clone(),
        owner: format!("{node}-{life}"),
        ..About::default()
    };
    let node = NodeName(node.into());
    (Member { node, incarnation }, about)
}

fn name(role: Role, room: &str, id: &str) -> Name {
    Name::new(role, &RoomName::new(room).unwrap(), &FullId::new(id).unwrap())
}

async fn hear(heard: &mut Receiver<Heard>) -> Message {
    loop {
        match tokio::time::timeout(PATIENCE, heard.recv())
            .await
            .unwrap()
            .unwrap()
        {
            Heard::Message(message) => return message,
            Heard::Anew => {}
            Heard::Nonsense => panic!("nonsense"),
        }
    }
}

/// `nodes` are ways to one and the same directory.
async fn conforms(nodes: &[Arc<dyn Directory>]) {
    let (one, other) = (&nodes[0], &nodes[1]);
    let mut heard = other.listen();
    while !other.is_there() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokens(one, other).await;
    rooms(one, other).await;
    names_of_nodes(one, other).await;
    states(one, other, &mut heard).await;
    claims(one, other, &mut heard).await;
    storm(nodes).await;
    deaths(one, other, &mut heard).await;
}

async fn tokens(one: &Arc<dyn Directory>, other: &Arc<dyn Directory>) {
    let key = |role, room: &str, id: &str| {
        TokenKey::new(role, &RoomName::new(room).unwrap(), &FullId::new(id).unwrap())
    };
    let put = |room: &'static str, id: &'static str| async move {
        let token = format!("{room}|{id}");
        one.put_token(key(Role::Publisher, room, id), token)
            .await
            .unwrap();
    };
    // Names that a careless join of parts would take for each other.
    let pairs = [
        ("r", "alice"),
        ("a:b", "c"),
        ("a", "b:c"),
        ("{x}", "y"),
        ("\"", "\\"),
        ("p", "{r}:a"),
    ];
    for (room, id) in pairs {
        put(room, id).await;
    }
    for (room, id) in pairs {
        let found = other.token(key(Role::Publisher, room, id)).await.unwrap();
        assert_eq!(found, Some(format!("{room}|{id}")));
        assert_eq!(other.token(key(Role::Subscriber, room, id)).await.unwrap(), None);
    }
    let screen = other
        .token(key(Role::Publisher, "r", "alice-screen+2"))
        .await
        .unwrap();
    assert_eq!(screen.as_deref(), Some("r|alice"));
    one.put_token(key(Role::Publisher, "r", "alice"), "new".into())
        .await
        .unwrap();
    let found = other.token(key(Role::Publisher, "r", "alice")).await.unwrap();
    assert_eq!(found.as_deref(), Some("new"));
}

async fn rooms(one: &Arc<dyn Directory>, other: &Arc<dyn Directory>) {
    let room = |name: &str| RoomName::new(name).unwrap();
    assert!(!other.has_room(&room("a")).await.unwrap());
    assert!(one.create_room(&room("a")).await.unwrap());
    assert!(
        !other.create_room(&room("a")).await.unwrap(),
        "it is there already"
    );
    assert!(other.has_room(&room("a")).await.unwrap());
    assert!(!other.has_room(&room("a}")).await.unwrap());
    other.delete_room(&room("a")).await.unwrap();
    other.delete_room(&room("a")).await.unwrap();
    assert!(!one.has_room(&room("a")).await.unwrap());
    assert!(one.create_room(&room("a")).await.unwrap());
}

async fn names_of_nodes(one: &Arc<dyn Directory>, other: &Arc<dyn Directory>) {
    let (first, about) = member("n", 1);
    assert_eq!(
        one.renew(&first, &about).await.unwrap(),
        Renewed::Lapsed,
        "never entered"
    );
    assert_eq!(one.enter(&first, &about).await.unwrap(), Entered::Yes);
    let (second, other_place) = member("n", 2);
    let Entered::Held { until_ms } = other.enter(&second, &other_place).await.unwrap() else {
        panic!("two of one name");
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let Renewed::Yes(seen) = one.renew(&first, &about).await.unwrap() else {
        panic!("lost");
    };
    assert!(
        seen.iter()
            .any(|seen| seen.alive && seen.about.as_ref() == Some(&about))
    );
    let Entered::Held { until_ms: later } = other.enter(&second, &other_place).await.unwrap() else {
        panic!("two of one name");
    };
    assert!(later > until_ms, "it is seen to live");
    // The next process at the same place.
    let same_place = About {
        owner: about.owner.clone(),
        ..other_place.clone()
    };
    assert_eq!(other.enter(&second, &same_place).await.unwrap(), Entered::Yes);
    assert_eq!(one.renew(&first, &about).await.unwrap(), Renewed::Replaced);
    assert!(
        !one.change(&first, vec![("v/r".into(), Some("1".into()))])
            .await
            .unwrap()
    );
    // Handed over: whoever comes.
    let over = About {
        handed_over: true,
        ..same_place
    };
    assert!(matches!(
        other.renew(&second, &over).await.unwrap(),
        Renewed::Yes(_)
    ));
    let (third, elsewhere) = member("n", 3);
    assert_eq!(one.enter(&third, &elsewhere).await.unwrap(), Entered::Yes);
    one.leave(&third).await.unwrap();
    while !one.reap(&third.node).await.unwrap() {}
}

async fn states(one: &Arc<dyn Directory>, other: &Arc<dyn Directory>, heard: &mut Receiver<Heard>) {
    let (member, about) = member("state", 1);
    while heard.try_recv().is_ok() {}
    one.enter(&member, &about).await.unwrap();
    let begin = other.read(&member.node).await.unwrap().unwrap().sequence;
    let set = |field: &str, value: Option<&str>| (field.to_owned(), value.map(str::to_owned));
    for (number, fields) in [
        vec![set("p/r/a", Some("{\"a\":\"\\n\"}")), set("v/r", Some("3"))],
        vec![set("v/r", None)],
    ]
    .into_iter()
    .enumerate()
    {
        assert!(one.change(&member, fields.clone()).await.unwrap());
        let told = loop {
            let message = hear(heard).await;
            if !matches!(message, Message::Gone { .. }) {
                break message;
            }
        };
        let wanted = Message::Change {
            member: member.clone(),
            sequence: begin + number as u64 + 1,
            fields,
        };
        assert_eq!(told, wanted);
    }
    let whole = other.read(&member.node).await.unwrap().unwrap();
    assert_eq!(
        (whole.sequence, whole.incarnation),
        (begin + 2, member.incarnation.clone())
    );
    assert_eq!(whole.fields, [("p/r/a".to_owned(), "{\"a\":\"\\n\"}".to_owned())]);
    let Renewed::Yes(seen) = one.renew(&member, &about).await.unwrap() else {
        panic!("lost");
    };
    assert!(
        seen.iter()
            .any(|seen| seen.node == member.node && seen.sequence == begin + 2)
    );
    assert_eq!(other.read(&NodeName("nobody".into())).await.unwrap(), None);
    // Who enters again is read again, whatever is remembered.
    one.enter(&member, &about).await.unwrap();
    assert!(other.read(&member.node).await.unwrap().unwrap().sequence > begin + 3);
}

async fn claims(one: &Arc<dyn Directory>, other: &Arc<dyn Directory>, heard: &mut Receiver<Heard>) {
    let ((a, about_a), (b, about_b)) = (member("a", 1), member("b", 1));
    one.enter(&a, &about_a).await.unwrap();
    other.enter(&b, &about_b).await.unwrap();
    let alice = name(Role::Publisher, "r", "alice");
    let newcomer = Claiming::Newcomer;
    assert_eq!(one.claim(&a, &alice, 1, newcomer).await.unwrap(), Claimed::Yes);
    assert_eq!(
        other.claim(&b, &alice, 2, newcomer).await.unwrap(),
        Claimed::Taken(a.node.clone())
    );
    assert_eq!(one.claim(&a, &alice, 3, newcomer).await.unwrap(), Claimed::Own);
    let listener = name(Role::Subscriber, "r", "alice");
    assert_eq!(
        other.claim(&b, &listener, 4, newcomer).await.unwrap(),
        Claimed::Yes,
        "the other role"
    );
    // Late, and somebody else's.
    one.release(&a, &alice, 3).await.unwrap();
    other.release(&b, &alice, 1).await.unwrap();
    other.set_silent(&b, &alice, 1, true).await.unwrap();
    one.set_silent(&a, &alice, 9, true).await.unwrap();
    assert_eq!(
        other.claim(&b, &alice, 5, newcomer).await.unwrap(),
        Claimed::Taken(a.node.clone())
    );
    assert_eq!(one.claims(&a.node).await.unwrap(), [(alice.clone(), 1)]);
    // Silent: whoever comes has the name, and the old one is told.
    one.set_silent(&a, &alice, 1, true).await.unwrap();
    while heard.try_recv().is_ok() {}
    let mend = Claiming::Session { silent: false };
    assert_eq!(
        other.claim(&b, &alice, 6, mend).await.unwrap(),
        Claimed::Taken(a.node.clone())
    );
    assert_eq!(other.claim(&b, &alice, 6, newcomer).await.unwrap(), Claimed::Yes);
    let evict = Message::Evict {
        node: a.node.clone(),
        nonce: format!("{:016x}", 1),
    };
    assert_eq!(hear(heard).await, evict);
    one.release(&a, &alice, 1).await.unwrap();
    assert_eq!(
        one.claim(&a, &alice, 7, newcomer).await.unwrap(),
        Claimed::Taken(b.node.clone())
    );
    assert_eq!(one.claims(&a.node).await.unwrap(), []);
    // A session's claim takes the place of its node's own.
    assert_eq!(other.claim(&b, &alice, 8, mend).await.unwrap(), Claimed::Yes);
    other.release(&b, &alice, 6).await.unwrap();
    assert_eq!(other.claims(&b.node).await.unwrap().len(), 2);
    other.release(&b, &alice, 8).await.unwrap();
    assert_eq!(one.claim(&a, &alice, 9, newcomer).await.unwrap(), Claimed::Yes);
}

/// Many tasks at all nodes want the same names: each has exactly one holder.
async fn storm(nodes: &[Arc<dyn Directory>]) {
    const NAMES: usize = 20;
    let mut tasks = JoinSet::new();
    for (number, directory) in nodes.iter().enumerate() {
        let (member, about) = member(&format!("storm{number}"), 1);
        directory.enter(&member, &about).await.unwrap();
        for task in 0..8_u64 {
            let (directory, member) = (directory.clone(), member.clone());
            tasks.spawn(async move {
                let mut won = Vec::new();
                for n in 0..NAMES {
                    let name = name(Role::Publisher, "storm", &format!("p{n}"));
                    let nonce = 1 + number as u64 * 8 + task;
                    if directory
                        .claim(&member, &name, nonce, Claiming::Newcomer)
                        .await
                        .unwrap()
                        == Claimed::Yes
                    {
                        won.push(n);
                    }
                }
                won
            });
        }
    }
    let mut won: Vec<usize> = tasks.join_all().await.into_iter().flatten().collect();
    won.sort_unstable();
    assert_eq!(won, (0..NAMES).collect::<Vec<_>>());
}

/// Whoever isn't heard of loses everything.
async fn deaths(one: &Arc<dyn Directory>, other: &Arc<dyn Directory>, heard: &mut Receiver<Heard>) {
    let ((dead, about), (heir, about_heir)) = (member("dead", 1), member("heir", 1));
    one.enter(&dead, &about).await.unwrap();
    let names: Vec<Name> = (0..1200)
        .map(|n| name(Role::Subscriber, "d", &format!("s{n}")))
        .collect();
    for name in &names {
        one.claim(&dead, name, 1, Claiming::Newcomer).await.unwrap();
    }
    one.change(&dead, vec![("v/d".into(), Some("1200".into()))])
        .await
        .unwrap();
    other.enter(&heir, &about_heir).await.unwrap();
    assert!(other.reap(&dead.node).await.unwrap(), "it lives: nothing to do");
    assert_eq!(other.claims(&dead.node).await.unwrap().len(), 1200);
    tokio::time::sleep(LEASE + Duration::from_millis(200)).await;
    other.enter(&heir, &about_heir).await.unwrap();
    // Its names are free at once, even before anybody has cleared up.
    assert_eq!(
        other
            .claim(&heir, &names[0], 2, Claiming::Newcomer)
            .await
            .unwrap(),
        Claimed::Yes
    );
    assert_eq!(one.renew(&dead, &about).await.unwrap(), Renewed::Lapsed);
    while heard.try_recv().is_ok() {}
    while !other.reap(&dead.node).await.unwrap() {}
    assert_eq!(hear(heard).await, Message::Gone { member: dead.clone() });
    assert_eq!(other.claims(&dead.node).await.unwrap(), []);
    assert_eq!(
        other.claims(&heir.node).await.unwrap(),
        [(names[0].clone(), 2)],
        "not the heir's"
    );
    assert_eq!(other.read(&dead.node).await.unwrap(), None);
    let Renewed::Yes(seen) = other.renew(&heir, &about_heir).await.unwrap() else {
        panic!("lost");
    };
    assert!(!seen.iter().any(|seen| seen.node == dead.node));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let directory: Arc<dyn Directory> = Arc::new(MemoryDirectory::default());
    conforms(&vec![directory; 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]).await;
    server.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    while !server
        .run(&["CLUSTER", "INFO"])
        .await
        .contains("cluster_state:ok")
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let url = format!("{0},{0}", server.url());
    conforms(&[redis(&url, "t").await, redis(&url, "t").await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_behind_sentinel() {
    let server = RedisServer::start(&[]).await;
    let sentinel = server.watched_by_sentinel("main").await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    conforms(&[redis(&url, "t").await, redis(&url, "t").await]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_redis() {
    let server = RedisServer::start(&[]).await;
    let url = server.url();
    let nodes = [
        redis(&url, "t").await,
        redis(&url, "t").await,
        redis(&url, "t").await,
    ];
    conforms(&nodes).await;
    // Another prefix is another cluster.
    let apart = redis(&url, "t2").await;
    assert_eq!(apart.claims(&NodeName("heir".into())).await.unwrap(), []);
    // Tokens expire by themselves.
    let ttl = server.run(&["PTTL", "{t}:token:p/r/alice"]).await;
    let ttl: u64 = ttl.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    assert!((86_000_000..=86_400_000).contains(&ttl), "{ttl}");
}
