use super::*;

const TTL: Duration = Duration::from_secs(30);
const OWNER: Owner<'_> = Owner {
    fleet: "f",
    node: None,
};

fn listed(peers: &Peers, filter: &Filter, now: Moment) -> Vec<Peer> {
    peers.list(Some("f"), filter, &Nats::new(), now).0
}

fn registration(node: &str, pid: u32) -> Registration {
    Registration {
        project: "ant-quic".into(),
        node: node.into(),
        tester: "saorsa-quic-test".into(),
        stack_version: "0.27.61".into(),
        digest: "00".repeat(32),
        pid,
        local: None,
    }
}

fn heartbeat(peer: &str, attempts: f64) -> Heartbeat {
    Heartbeat {
        peer: peer.into(),
        metrics: BTreeMap::from([("attempts_total".into(), attempts)]),
        log: Vec::new(),
    }
}

fn after(start: Moment, seconds: u64) -> Moment {
    Moment {
        monotonic: start.monotonic + Duration::from_secs(seconds),
        unix_ms: start.unix_ms + seconds as i64 * 1000,
    }
}

fn alive(peers: &Peers, now: Moment) -> Vec<bool> {
    let found = listed(peers, &Filter::default(), now);
    found.iter().map(|peer| peer.alive).collect()
}

#[test]
fn a_silent_peer_is_gone_after_its_time_and_dropped_later() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    peers.register(OWNER, registration("a", 1), start).unwrap();
    assert_eq!(alive(&peers, after(start, 30)), [true]);
    assert_eq!(alive(&peers, after(start, 31)), [false]);
    peers.sweep(after(start, 300));
    assert_eq!(peers.count(after(start, 300)), (0, 1));
    peers.sweep(after(start, 301));
    assert_eq!(peers.count(after(start, 301)), (0, 0));
}

#[test]
fn a_heartbeat_revives_and_replaces_the_values() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    let name = peers.register(OWNER, registration("a", 1), start).unwrap();
    peers
        .heartbeat(OWNER, heartbeat(&name, 7.0), after(start, 60))
        .unwrap();
    let found = listed(&peers, &Filter::default(), after(start, 80));
    assert!(found[0].alive);
    assert_eq!(found[0].metrics["attempts_total"], 7.0);
    assert_eq!(found[0].last_seen - found[0].registered_at, 60_000);
}

#[test]
fn an_unknown_peer_is_told_so() {
    let mut peers = Peers::new(TTL, 10);
    assert_eq!(
        peers.heartbeat(OWNER, heartbeat("nobody", 0.0), Moment::now()),
        Err(PeersError::Unknown("nobody".into()))
    );
}

#[test]
fn registering_again_takes_no_room_and_a_new_binary_starts_anew() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 1);
    let name = peers.register(OWNER, registration("a", 1), start).unwrap();
    peers
        .heartbeat(OWNER, heartbeat(&name, 7.0), start)
        .unwrap();
    assert_eq!(peers.register(OWNER, registration("a", 1), start), Ok(name));
    let found = listed(&peers, &Filter::default(), start);
    assert_eq!(found[0].metrics.len(), 1);

    let mut other = registration("a", 1);
    other.digest = "11".repeat(32);
    peers.register(OWNER, other, start).unwrap();
    let found = listed(&peers, &Filter::default(), start);
    assert_eq!((found.len(), found[0].metrics.len()), (1, 0));
}

#[test]
fn a_full_table_gives_up_the_silent_and_never_the_living() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 2);
    peers.register(OWNER, registration("a", 1), start).unwrap();
    peers
        .register(OWNER, registration("b", 1), after(start, 20))
        .unwrap();
    assert_eq!(
        peers.register(OWNER, registration("c", 1), after(start, 25)),
        Err(PeersError::Full(2))
    );
    peers
        .register(OWNER, registration("c", 1), after(start, 40))
        .unwrap();
    let nodes: Vec<_> = listed(&peers, &Filter::default(), after(start, 40))
        .into_iter()
        .map(|peer| peer.registration.node)
        .collect();
    assert_eq!(nodes, ["b", "c"]);
}

#[test]
fn filters_combine() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    peers.register(OWNER, registration("a", 1), start).unwrap();
    peers
        .register(OWNER, registration("a", 2), after(start, 40))
        .unwrap();
    peers
        .register(OWNER, registration("b", 1), after(start, 40))
        .unwrap();
    let count = |node: Option<&str>, alive| {
        let filter = Filter {
            project: Some("ant-quic".into()),
            node: node.map(str::to_owned),
            alive,
            ..Filter::default()
        };
        listed(&peers, &filter, after(start, 41)).len()
    };
    assert_eq!(count(None, None), 3);
    assert_eq!(count(Some("a"), None), 2);
    assert_eq!(count(Some("a"), Some(true)), 1);
    assert_eq!(count(None, Some(false)), 1);
}

#[test]
fn a_token_writes_its_own_and_no_other() {
    let now = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    let bound = Owner {
        fleet: "f",
        node: Some("a"),
    };
    let other = Owner {
        fleet: "g",
        node: None,
    };
    let name = peers.register(bound, registration("a", 1), now).unwrap();
    let foreign = |done| matches!(done, Err(PeersError::Foreign(_)));
    assert!(foreign(
        peers.register(bound, registration("b", 1), now).map(|_| ())
    ));
    assert!(foreign(
        peers.register(other, registration("a", 1), now).map(|_| ())
    ));
    assert!(foreign(peers.heartbeat(other, heartbeat(&name, 1.0), now)));
    assert_eq!(peers.heartbeat(bound, heartbeat(&name, 1.0), now), Ok(()));
    let seen = |fleet| peers.all(fleet, &Nats::new(), now).len();
    assert_eq!([seen(Some("f")), seen(Some("g")), seen(None)], [1, 0, 1]);
}

#[test]
fn pages_follow_each_other() {
    let now = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    for node in ["a", "b", "c"] {
        peers.register(OWNER, registration(node, 1), now).unwrap();
    }
    let mut filter = Filter {
        limit: Some(2),
        ..Filter::default()
    };
    let (first, next) = peers.list(None, &filter, &Nats::new(), now);
    assert_eq!((first.len(), next.is_some()), (2, true));
    filter.after = next;
    let (second, next) = peers.list(None, &filter, &Nats::new(), now);
    assert_eq!(second[0].registration.node, "c");
    assert_eq!(next, None);
}

#[test]
fn a_nat_has_several_names() {
    let now = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    peers.register(OWNER, registration("a", 1), now).unwrap();
    let nats = Nats::from([(("f".into(), "a".into()), "Full Cone (EIM/EIF)".into())]);
    let count = |nat: &str| {
        let filter = Filter {
            nat: Some(nat.into()),
            ..Filter::default()
        };
        peers.list(None, &filter, &nats, now).0.len()
    };
    for name in ["full-cone", "EIM/EIF", "Full Cone (EIM/EIF)", "eim/eif"] {
        assert_eq!(count(name), 1, "{name}");
    }
    assert_eq!(count("symmetric") + count("none") + count(""), 0);
}

#[test]
fn a_restart_keeps_who_was_there_and_how_long_ago() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    peers.register(OWNER, registration("a", 1), start).unwrap();
    let (rows, gone) = peers.unwritten();
    assert_eq!((rows.len(), gone.len()), (1, 0));
    assert!(peers.unwritten().0.is_empty());
    let later = after(start, 31);
    let mut again = Peers::new(TTL, 10);
    again.restore(rows, later);
    // A machine that booted a moment ago cannot reach back so far.
    if !again.entries.is_empty() {
        assert_eq!(alive(&again, later), [false]);
    }
}

#[test]
fn who_came_and_who_fell_silent_is_told_once() {
    let start = Moment::now();
    let mut peers = Peers::new(TTL, 10);
    peers.register(OWNER, registration("a", 1), start).unwrap();
    assert!(peers.turned(start)[0].3);
    assert!(peers.turned(start).is_empty());
    assert!(!peers.turned(after(start, 31))[0].3);
}
