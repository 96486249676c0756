//! What goes wrong with Redis and with nodes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use weever_controlplane::StartError;

use crate::house::{House, OFFER, request};
use crate::nodes::{node, until};
use crate::proxy::{Proxy, Way};
use crate::redis_server::{RedisServer, free_port};

/// Within it a dead node's entries are gone, and two sides that were apart agree.
const AGREED: Duration = Duration::from_secs(10);
/// For a machine with other things to do.
const SLOW_MACHINE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_gone_within_ten_seconds() {
    let redis = RedisServer::start(&[]).await;
    let url = redis.url();
    let (one, two) = (node(&url, "one", &[]).await, node(&url, "two", &[]).await);
    assert_eq!(two.join("/pub/r/alice").await, 201);
    one.sees(1).await;
    let begin = Instant::now();
    drop(two);
    one.sees(0).await;
    let took = begin.elapsed();
    assert!(
        took > Duration::from_secs(3),
        "its lease had to run out: {took:?}"
    );
    assert!(took < AGREED + SLOW_MACHINE, "{took:?}");
    assert_eq!(one.join("/pub/r/alice").await, 201);
    until("cleared away", async || {
        redis.run(&["ZCARD", "{weever}:nodes"]).await == "int(1)"
    })
    .await;
    assert_eq!(redis.run(&["HLEN", "{weever}:claims"]).await, "int(1)");
}

async fn killed_and_restarted(args: &[&str]) {
    let mut redis = RedisServer::start(args).await;
    let url = redis.url();
    let (one, two) = (node(&url, "one", &[]).await, node(&url, "two", &[]).await);
    assert_eq!(one.join("/pub/r/a").await, 201);
    assert_eq!(one.join("/pub/r/leaves").await, 201);
    two.sees(2).await;
    redis.kill();
    until("the loss is noticed", async || {
        one.metric("weever_directory_connected").await == 0.0
            && two.metric("weever_directory_connected").await == 0.0
    })
    .await;
    // Local service goes on.
    let begin = Instant::now();
    assert_eq!(one.join("/pub/r/b").await, 201);
    assert_eq!(two.join("/pub/r/c").await, 201);
    assert_eq!(one.join("/pub/r/b").await, 409, "each node knows its own");
    assert_eq!(
        one.house
            .private("DELETE", "/rooms/r/pub/leaves", "")
            .await
            .status,
        200
    );
    assert!(begin.elapsed() < SLOW_MACHINE, "{:?}", begin.elapsed());
    // What one can't know of the other: both have let in the same.
    assert_eq!(
        (one.join("/pub/r/both").await, two.join("/pub/r/both").await),
        (201, 201)
    );
    // Long enough for every lease to end.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(
        two.elsewhere().await,
        2,
        "nobody is taken for dead since nobody is heard of"
    );
    redis.go().await;
    until("one of the two of one name had to go", async || {
        let all = one.house.get("/list/pub/r").await.body;
        let mut all: Vec<&str> = all.split(',').collect();
        all.sort_unstable();
        all == ["a", "b", "both", "c"]
    })
    .await;
    until("both are right", async || {
        (one.elsewhere().await, two.elsewhere().await) == (1, 3)
            || (one.elsewhere().await, two.elsewhere().await) == (2, 2)
    })
    .await;
    assert!(one.metric("weever_directory_reconnects_total").await >= 1.0);
    assert_eq!(two.join("/pub/r/a").await, 409, "names are known again");
    assert_eq!(two.join("/pub/r/leaves").await, 201, "and who has left has left");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_forgets() {
    killed_and_restarted(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_remembers() {
    killed_and_restarted(&["--appendonly", "yes", "--appendfsync", "always"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_partition_agree_once_it_is_healed() {
    let redis = RedisServer::start(&[]).await;
    let proxy = Proxy::to(redis.port).await;
    let (near, far) = (
        node(&redis.url(), "near", &[]).await,
        node(&proxy.url(), "far", &[]).await,
    );
    assert_eq!(far.join("/pub/r/kept").await, 201);
    assert_eq!(far.join("/pub/r/moves").await, 201);
    assert_eq!(near.join("/pub/r/n").await, 201);
    near.sees(2).await;
    far.sees(1).await;
    proxy.set(Way::Cut);
    near.sees(0).await;
    assert!(proxy.held_up.load(Ordering::Relaxed) > 0, "nothing was cut");
    // It comes back elsewhere: its node is dead as far as anybody knows.
    assert_eq!(near.join("/pub/r/moves").await, 201);
    assert_eq!(far.join("/pub/r/late").await, 201, "local service goes on");
    assert_eq!(
        near.house.private("DELETE", "/rooms/r/pub/n", "").await.status,
        200
    );
    assert_eq!(far.elsewhere().await, 1, "it can't know");
    proxy.set(Way::Open);
    let begin = Instant::now();
    near.sees(2).await;
    far.sees(1).await;
    assert!(begin.elapsed() < AGREED + SLOW_MACHINE, "{:?}", begin.elapsed());
    until("no ghost", async || {
        let all = far.house.get("/list/pub/r").await.body;
        let mut all: Vec<&str> = all.split(',').collect();
        all.sort_unstable();
        all == ["kept", "late", "moves"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_keeps_nobody_waiting_for_long() {
    let redis = RedisServer::start(&[]).await;
    let proxy = Proxy::to(redis.port).await;
    let slow = node(&proxy.url(), "slow", &["--auth"]).await;
    let token = json!({"room": "r", "id": "a", "token": "secret"}).to_string();
    assert_eq!(
        slow.house.private("POST", "/create/pub", &token).await.status,
        200
    );
    let post = || {
        let headers = [
            ("content-type", "application/sdp"),
            ("authorization", "Bearer secret"),
        ];
        let public = slow.house.running.public;
        async move { request(public, "POST", "/pub/r/a", &headers, OFFER).await }
    };
    proxy.set(Way::Slow(Duration::from_secs(5)));
    let begin = Instant::now();
    let answer = post().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("2")),
        "nobody guesses tokens"
    );
    assert!(proxy.held_up.load(Ordering::Relaxed) > 0, "nothing was slow");
    proxy.set(Way::Open);
    until("tokens are known again", async || post().await.status == 201).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_redis_serves_and_a_wrong_password_is_told() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let alone = node(&nowhere, "alone", &[]).await;
    assert_eq!(alone.join("/pub/r/a").await, 201);
    assert_eq!(alone.metric("weever_directory_connected").await, 0.0);

    let redis = RedisServer::start(&["--requirepass", "right"]).await;
    for login in ["", ":hunter2@", "nobody:hunter2@"] {
        let flag = format!("--redis=redis://{login}127.0.0.1:{}", redis.port);
        let Err(error @ StartError::Directory(_)) = House::attempt(&[&flag], None).await else {
            panic!("{login} accepted");
        };
        let text = error.to_string();
        assert!(
            text.starts_with("--redis: ") && !text.contains("hunter2"),
            "{text}"
        );
    }
    // One who may not do what is needed is told so at the start, not found out later.
    let open = RedisServer::start(&[]).await;
    for missing in ["-hset", "-zadd"] {
        open.run(&[
            "ACL", "SETUSER", "weak", "on", ">weak", "~*", "&*", "+@all", missing,
        ])
        .await;
        let flag = format!("--redis=redis://weak:weak@127.0.0.1:{}", open.port);
        let Err(error @ StartError::Directory(_)) = House::attempt(&[&flag], None).await else {
            panic!("{missing} accepted");
        };
        assert!(error.to_string().starts_with("--redis: "), "{error}");
    }
    let right = node(&format!("redis://:right@127.0.0.1:{}", redis.port), "right", &[]).await;
    right.knows(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_has_written_is_counted_and_ignored() {
    let redis = RedisServer::start(&[]).await;
    let one = node(&redis.url(), "one", &[]).await;
    one.knows(1).await;
    for message in [
        "",
        "{",
        "[]",
        "{\"change\":{}}",
        "{\"evict\":{\"node\":\"one\",\"nonce\":\"xyz\"}}",
    ] {
        redis.run(&["PUBLISH", "{weever}:changes", message]).await;
    }
    let change = json!({"change": {
        "member": {"node": "ghost", "incarnation": "1"}, "sequence": 1, "fields": [["p/r/x", "{}"]]
    }});
    redis
        .run(&["PUBLISH", "{weever}:changes", &change.to_string()])
        .await;
    // A node that is none: it is alive, and has nonsense in its state.
    redis
        .run(&["ZADD", "{weever}:nodes", "9999999999999", "ghost"])
        .await;
    let about = json!({"incarnation": "1", "owner": "o", "settled": true}).to_string();
    redis
        .run(&["HSET", "{weever}:about", "ghost", &about, "other", "{"])
        .await;
    redis
        .run(&[
            "HSET",
            "{weever}:state:ghost",
            "incarnation",
            "1",
            "p/r/x",
            "{}",
            "v/r",
            "-1",
            "?",
            "?",
        ])
        .await;
    redis
        .run(&["HSET", "{weever}:claims", "p/r/mine", "nonsense"])
        .await;
    until("counted", async || {
        one.metric("weever_directory_ignored_total").await >= 8.0
    })
    .await;
    one.knows(2).await;
    assert_eq!(one.elsewhere().await, 0);
    assert_eq!(one.join("/pub/r/mine").await, 201, "no claim");
}
