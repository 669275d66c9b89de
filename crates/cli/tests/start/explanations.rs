//! Failures with a cause, produced on real hosts, and the sentence that names it.

use serde_json::Value;

use crate::bed::Bed;

const FLEET: &str = "\
fleet: faults
nodes:
  - { name: hub, addresses: [192.0.2.1], provider: Lab, region: here, role: registry }
  - { name: one, addresses: [192.0.2.11], provider: Lab, region: here, role: bootstrap }
  - { name: two, addresses: [192.0.2.12], provider: Lab, region: here, role: bootstrap }
  - { name: shut, addresses: [192.0.2.13], provider: Lab, region: here, role: test }
  - { name: mute, addresses: [192.0.2.14], provider: Lab, region: here, role: test }
  - { name: p1, addresses: [192.0.2.21], provider: Lab, region: here, role: nat, nat: { type: port-restricted } }
  - { name: p2, addresses: [192.0.2.22], provider: Lab, region: here, role: nat, nat: { type: port-restricted } }
  - { name: hard, addresses: [192.0.2.23], provider: Lab, region: here, role: nat, nat: { type: symmetric } }
";

/// `udp-test-faulty` plays one fault a pair.
#[test]
fn each_cause_is_named_with_addresses_and_ports() {
    let bed = Bed::new("faults", FLEET).up();
    bed.configure("udp-test-faulty", &crate::bed::built());
    // Answers of the stack's coordinators do not get in; the reference's do.
    bed.on(
        "shut",
        "nft 'add table ip shut; add chain ip shut input { type filter hook input priority 0; }; \
              add rule ip shut input udp sport 9000 drop'",
    );
    let child = bed
        .command(&bed.start_words(&["--capture", "failures"]))
        .spawn()
        .unwrap();
    crate::testers::wait_for(&bed, "nat_measured");
    // A router where early probes take the port away, but for the reference's ports.
    bed.on(
        "p1",
        "nft flush chain ip vps_test_natbox input; nft add rule ip vps_test_natbox input udp dport 12000-21999 ct state new drop",
    );
    let ran = crate::bed::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    let mut wrong = Vec::new();
    for (from, to, cause, parts) in EXPECTED {
        let explanation = explanation(&proof, from, to);
        let sentence = explanation["sentence"].as_str().unwrap_or_default();
        let is_right = explanation["cause"] == *cause && parts.iter().all(|p| sentence.contains(p));
        if !is_right {
            wrong.push(format!(
                "{from} → {to}: {cause} {parts:?}, not {explanation:#}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    mapping_moved_says_both_ports(&proof);
    explanations_are_where_people_look(&ran.stdout, &bed);
    captures_show_both_sides_of_the_nat(&bed, &proof);
    the_network_was_measured(&proof);
}

/// tcpdump reads them: the same packets inside and outside, and both directions.
fn captures_show_both_sides_of_the_nat(bed: &Bed, proof: &Value) {
    let attempts = proof["attempts"].as_array().unwrap();
    let attempt = attempts
        .iter()
        .find(|a| a["matrix"] == "stack" && a["from"] == "p1" && a["to"] == "two")
        .unwrap();
    let id = attempt["id"].as_str().unwrap();
    let read = |file: &str| {
        let relative = format!("captures/{id}/{file}.pcapng");
        let listed = proof["evidence"]["captures"].as_array().unwrap();
        assert!(
            listed.contains(&relative.clone().into()),
            "{relative} in {listed:?}"
        );
        let output = std::process::Command::new("tcpdump")
            .args(["-n", "-tt", "-r"])
            .arg(bed.run_dir().join(&relative))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let probes = |text: &str, from: &str, to: &str| {
        let way = format!(" IP {from}");
        let fits = |l: &&str| {
            l.contains(&way) && l.contains(&format!("> {to}")) && l.contains("length 100")
        };
        text.lines().filter(fits).count()
    };
    let (inside, outside) = (read("caller-inside"), read("caller-outside"));
    let there = read("callee-outside");
    for text in [&outside, &there] {
        assert_eq!(probes(text, "198.18.6.10.", "198.18.3.10."), 5, "{text}");
        assert_eq!(probes(text, "198.18.3.10.", "198.18.6.10."), 5, "{text}");
    }
    assert_eq!(
        probes(&inside, "10.213.77.2.", "198.18.3.10."),
        5,
        "{inside}"
    );
    assert!(
        inside.contains(".9000 > 10.213.77.2."),
        "answers of a coordinator: {inside}"
    );
    let when: f64 = outside.split(' ').next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!((0.0..600.0).contains(&(now.as_secs_f64() - when)), "{when}");
    let succeeded = attempts
        .iter()
        .filter(|a| a["outcome"]["class"] == "success");
    for attempt in succeeded {
        let dir = bed
            .run_dir()
            .join("captures")
            .join(attempt["id"].as_str().unwrap());
        assert!(!dir.exists(), "only failures are kept");
    }
    assert_eq!(
        bed.on("p1", "ls /var/lib/vps-test/captures 2>/dev/null; true")
            .trim(),
        ""
    );
}

/// All links of this fleet are alike: one class of 28 pairs.
fn the_network_was_measured(proof: &Value) {
    let links = proof["links"].as_array().unwrap();
    assert_eq!((links.len(), &links[0]["like_it"]), (1, &28.into()));
    assert_eq!(links[0]["mismatch"], Value::Null);
    assert!(links[0]["measured"]["delay_ms"].as_f64().unwrap() < 4.0);
}

type Expected = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const EXPECTED: &[Expected] = &[
    (
        "one",
        "two",
        "unanswered",
        &[
            "packets from one's 198.18.2.10:",
            "arrived at two's 198.18.3.10:",
            "it answered none",
        ],
    ),
    (
        "two",
        "one",
        "no_handshake",
        &[
            "packets went both ways from +",
            "made no connection of them",
        ],
    ),
    (
        "one",
        "p1",
        "never_sent",
        &["p1 never sent to one's address 198.18.2.10:"],
    ),
    (
        "p1",
        "one",
        "never_sent",
        &["p1 never sent to one's address 198.18.2.10:"],
    ),
    (
        "two",
        "p1",
        "too_late",
        &[
            "all probes from two left after p1 gave up",
            "two's first at +",
            "p1's last at +",
        ],
    ),
    (
        "p1",
        "two",
        "payload_stalled",
        &[
            "connected (direct after ",
            "the payload stopped: of 262144 bytes each way 500 arrived at two and 500 at p1",
        ],
    ),
    (
        "p2",
        "two",
        "corrupt",
        &["connected (direct after ", "digests do not match"],
    ),
    (
        "two",
        "p2",
        "wrong_address",
        &[
            "to 10.213.77.2:",
            "p2's inner address",
            "none to its mapped port 198.18.7.10:",
        ],
    ),
    (
        "p1",
        "hard",
        "relay_idle",
        &[
            "relay 198.18.",
            ":9999 granted, no bytes forwarded",
            "p1 sent it 5 packets with 500 bytes",
        ],
    ),
    (
        "p2",
        "hard",
        "no_relay",
        &[
            "p2 is EIM/APDF, hard is APDM/APDF",
            "hard: no relay wants us",
        ],
    ),
    (
        "one",
        "p2",
        "filtered",
        &[
            "packets from 198.18.2.10:",
            "arrived at p2's NAT (EIM/APDF)",
            "p2 sent to 198.18.2.10:",
        ],
    ),
    (
        "p2",
        "p1",
        "mapping_moved",
        &["p1's mapping to p2 moved from ", " after p2's first probe"],
    ),
    (
        "mute",
        "one",
        "coordinator_silent",
        &[
            "198.18.2.10:9000, 198.18.3.10:9000 got 6 packets of mute's 198.18.5.10:",
            "sent none back",
        ],
    ),
    (
        "one",
        "shut",
        "udp_blocked",
        &[
            "UDP blocked at shut: 6 answers arrived at its 198.18.4.10:",
            "its tester got none",
        ],
    ),
];

fn explanation<'a>(proof: &'a Value, from: &str, to: &str) -> &'a Value {
    let attempts = proof["attempts"].as_array().unwrap();
    let attempt = attempts
        .iter()
        .find(|a| a["matrix"] == "stack" && a["from"] == from && a["to"] == to);
    &attempt.unwrap_or_else(|| panic!("{from} → {to} was not tried"))["explanation"]
}

/// The two ports of the sentence are those of the counted flows.
fn mapping_moved_says_both_ports(proof: &Value) {
    let explanation = explanation(proof, "p2", "p1");
    let sentence = explanation["sentence"].as_str().unwrap();
    let ports = sentence.split_once(" from ").unwrap().1;
    let (told, rest) = ports.split_once(" to ").unwrap();
    let now = rest.split(' ').next().unwrap();
    assert_ne!(told, now);
    let seen = explanation["seen"].to_string();
    assert!(seen.contains(&format!("→ 198.18.6.10:{told}")), "{seen}");
    assert!(
        seen.contains(&format!("198.18.6.10:{now} → 198.18.7.10")),
        "{seen}"
    );
}

fn explanations_are_where_people_look(stdout: &str, bed: &Bed) {
    assert!(stdout.contains("Worst cells"), "{stdout}");
    let documents = std::fs::read_dir(bed.run_dir()).unwrap();
    let document = documents
        .filter_map(Result::ok)
        .find(|f| f.file_name().to_string_lossy().starts_with("proof-"));
    let document = std::fs::read_to_string(document.unwrap().path()).unwrap();
    assert!(
        document.contains("all probes from two left after p1 gave up"),
        "{document}"
    );
    let finished = bed
        .journal()
        .into_iter()
        .filter(|e| e["event"] == "attempt_finished");
    let explained = finished.filter(|e| e["explanation"]["cause"].is_string());
    assert!(explained.count() > EXPECTED.len());
}
