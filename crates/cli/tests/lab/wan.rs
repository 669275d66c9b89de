//! The internet between the hosts does what the inventory says, and no more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::inventory::{Link, NodeName};

use crate::site::{FLEET, SHARED, Site, peer};
use crate::traffic::{count, least_ms, send, send_segmented};

const MS: Duration = Duration::from_millis(1);

/// Held by tests that share a link that loses or queues, or count what is lost.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One-way delay between two hosts, in milliseconds.
fn delay(site: &Site, from: &str, to: &str) -> f64 {
    least_ms(&send(&site.pair(from, to), 20, 100, 5 * MS))
}

/// What the inventory says it is.
fn set_delay(site: &Site, from: &str, to: &str) -> f64 {
    let fleet = site.twin.fleet();
    let node = |name: &str| {
        fleet
            .node(&NodeName::new(name))
            .expect("a node of the inventory")
    };
    fleet.link(node(from), node(to)).delay_ms
}

#[track_caller]
fn assert_near(got: f64, wanted: f64) {
    assert!(
        (got - wanted).abs() <= 1.0,
        "{got:.2} ms where {wanted:.2} ms is set"
    );
}

#[test]
fn latency_follows_geography_in_both_directions() {
    let wanted = set_delay(&SHARED, "london", "tokyo");
    assert!((45.0..52.0).contains(&wanted), "{wanted}");
    assert_near(delay(&SHARED, "london", "tokyo"), wanted);
    assert_near(delay(&SHARED, "tokyo", "london"), wanted);
    let ping = SHARED.sh("london", "ping -4 -q -c 5 -i 0.2 tokyo | tail -1");
    let least: f64 = ping.split([' ', '/']).find_map(|w| w.parse().ok()).unwrap();
    assert!((least - 2.0 * wanted).abs() <= 2.0, "{ping}");
}

#[test]
fn an_override_changes_one_direction_only() {
    assert_near(delay(&SHARED, "a", "london"), 30.0);
    assert_near(delay(&SHARED, "london", "a"), 0.0);
}

#[test]
fn jitter_spreads_delays_and_keeps_the_order() {
    let arrivals = send(&SHARED.pair("a", "tokyo"), 100, 100, 5 * MS);
    assert_eq!(arrivals.len(), 100);
    assert!(arrivals.is_sorted_by_key(|(number, _)| *number));
    let mut ms: Vec<_> = arrivals
        .iter()
        .map(|(_, d)| d.as_secs_f64() * 1e3)
        .collect();
    ms.sort_by(f64::total_cmp);
    assert!((9.9..14.0).contains(&ms[0]), "least {:.2} ms", ms[0]);
    assert!((24.0..34.0).contains(&ms[95]), "p95 {:.2} ms", ms[95]);
}

#[test]
fn a_rate_shapes_a_burst() {
    let _alone = alone();
    // 1028 bytes on the wire take 1.028 ms at 8 Mbit/s.
    let arrivals = send(&SHARED.pair("b", "tokyo"), 100, 1000, Duration::ZERO);
    assert_eq!(arrivals.len(), 100, "100 ms are less than the queue");
    let last = arrivals[99].1.as_secs_f64() * 1e3;
    assert!(
        (95.0..115.0).contains(&last),
        "{last:.1} ms for 102.8 ms of packets"
    );
}

#[test]
fn a_rates_queue_overflows_and_says_so() {
    let _alone = alone();
    let before = SHARED.twin.status().unwrap().wan;
    let arrivals = send(&SHARED.pair("b", "tokyo"), 400, 1000, Duration::ZERO);
    let after = SHARED.twin.status().unwrap().wan;
    // As many as wait 200 ms at once, and those that left while a busy machine sent.
    assert!(
        (190..=300).contains(&arrivals.len()),
        "{} of 400",
        arrivals.len()
    );
    let longest = arrivals.iter().map(|(_, delay)| *delay).max().unwrap();
    assert!(
        (180 * MS..=220 * MS).contains(&longest),
        "{longest:?} in a queue of 200 ms"
    );
    assert_eq!(
        after.overflowed - before.overflowed,
        400 - arrivals.len() as u64
    );
    assert_eq!(after.lost, before.lost);
}

#[test]
fn loss_takes_its_share_and_nothing_else() {
    let _alone = alone();
    let before = SHARED.twin.status().unwrap().wan;
    let pair = SHARED.pair("b", "london");
    let arrivals = send(&pair, 2000, 100, Duration::ZERO);
    let after = SHARED.twin.status().unwrap().wan;
    let lost = 2000 - arrivals.len() as u64;
    assert!((400..600).contains(&lost), "{lost} of 2000 at 25%");
    assert_eq!(after.lost - before.lost, lost);
    assert_eq!(after.unasked, 0);
    assert_eq!(
        SHARED.flow(&pair.0, &pair.1),
        (2000 - lost, (2000 - lost) * 100)
    );
}

#[test]
fn the_same_seed_loses_the_same_packets_in_two_twins_side_by_side() {
    let lost = |site: &Site| -> Vec<u32> {
        let arrived = send(&site.pair("b", "london"), 500, 100, Duration::ZERO);
        arrived.into_iter().map(|(number, _)| number).collect()
    };
    let (one, other) = (Site::boot("left", FLEET), Site::boot("right", FLEET));
    assert_eq!(one.address("a"), other.address("a"));
    assert_eq!(lost(&one), lost(&other));
    for (site, mark) in [(&one, "left"), (&other, "right")] {
        site.sh("a", &format!("echo {mark} > /root/mark"));
    }
    assert_eq!(one.sh("a", "cat /root/mark"), "left");
    assert_eq!(other.sh("a", "cat /root/mark"), "right");
}

#[test]
fn a_segmented_send_counts_as_the_packets_of_a_wire() {
    let pair = SHARED.pair("a", "b");
    for _ in 0..10 {
        send_segmented(&pair, 40, 1200);
    }
    assert_eq!(count(&pair.1, 1200), 400);
    assert_eq!(SHARED.flow(&pair.0, &pair.1), (400, 480_000));
}

#[test]
fn loss_meets_each_packet_of_a_segmented_send() {
    let _alone = alone();
    let pair = SHARED.pair("b", "london");
    for _ in 0..25 {
        send_segmented(&pair, 40, 1200);
    }
    let arrived = count(&pair.1, 1200);
    assert!(
        (680..820).contains(&arrived),
        "{arrived} of 1000 at 25% loss"
    );
    assert_eq!(
        SHARED.flow(&pair.0, &pair.1),
        (arrived as u64, arrived as u64 * 1200)
    );
}

#[test]
fn flows_count_every_byte_of_an_exchange() {
    let (a, b) = SHARED.pair("a", "b");
    let mut buffer = [0; 2000];
    for size in [0, 1, 999, 1472, 1473, 2000] {
        a.send_to(&buffer[..size], peer(&b)).unwrap();
        assert_eq!(b.recv(&mut buffer).unwrap(), size);
        b.send_to(&buffer[..1], peer(&a)).unwrap();
        a.recv(&mut buffer).unwrap();
    }
    assert_eq!(SHARED.flow(&b, &a), (6, 6));
    let (packets, bytes) = SHARED.flow(&a, &b);
    assert_eq!((packets, bytes), (8, 1 + 999 + 1472 + 1473 + 2000));
}

#[test]
fn a_pair_is_cut_and_heals() {
    let _alone = alone();
    let names = ["tokyo", "b"].map(NodeName::new);
    let (there, back) = (SHARED.pair("tokyo", "b"), SHARED.pair("b", "tokyo"));
    let arrive = || [&there, &back].map(|pair| send(pair, 5, 100, MS).len());
    assert_eq!(arrive(), [5, 5]);
    SHARED.twin.cut(&names[0], &names[1], true).unwrap();
    assert_eq!(arrive(), [0, 0]);
    assert_eq!(
        send(&SHARED.pair("tokyo", "a"), 5, 100, MS).len(),
        5,
        "another pair"
    );
    SHARED.twin.cut(&names[1], &names[0], false).unwrap();
    assert_eq!(arrive(), [5, 5]);
}

#[test]
fn a_link_is_changed_while_the_twin_is_up() {
    let (from, to) = (NodeName::new("tokyo"), NodeName::new("a"));
    assert_near(delay(&SHARED, "tokyo", "a"), 0.0);
    let slow = Link {
        delay_ms: 12.0,
        ..Link::default()
    };
    SHARED.twin.set_link(&from, &to, slow).unwrap();
    assert_near(delay(&SHARED, "tokyo", "a"), 12.0);
    SHARED.twin.set_link(&from, &to, Link::default()).unwrap();
    assert_near(delay(&SHARED, "tokyo", "a"), 0.0);
    let unknown = NodeName::new("nobody");
    assert!(SHARED.twin.set_link(&from, &unknown, slow).is_err());
}

#[test]
fn tcp_crosses_every_kind_of_link_whole() {
    let _alone = alone();
    for (from, to) in [("a", "b"), ("a", "tokyo"), ("b", "london"), ("b", "tokyo")] {
        let script = "head -c 300000 /usr/bin/ssh | timeout 20 bash -c 'cat > /dev/tcp/'$0'/5000'";
        let address = SHARED.address(to);
        SHARED.sh(to, "rm -f /tmp/got; systemd-run -q --unit=sink sh -c 'socat -u TCP-LISTEN:5000 CREATE:/tmp/got'");
        SHARED.sh(
            to,
            "for i in $(seq 50); do ss -ltn | grep -q :5000 && exit 0; sleep 0.1; done; exit 1",
        );
        SHARED.sh(from, &script.replace("$0", &address.to_string()));
        SHARED.sh(to, "for i in $(seq 100); do systemctl is-active -q sink || exit 0; sleep 0.1; done; exit 1");
        let sums = [
            SHARED.sh(to, "sha256sum < /tmp/got"),
            SHARED.sh(from, "head -c 300000 /usr/bin/ssh | sha256sum"),
        ];
        assert_eq!(sums[0], sums[1], "{from} to {to}");
    }
}
