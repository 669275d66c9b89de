//! Testers that are broken on purpose, in real runs: none of them may pass, and
//! each is found out for what it does. `crates/testnet/src/bin/mutant-test.rs`
//! says how they are broken.

use serde_json::Value;

use crate::bed::{Bed, FLEET, Ran, built};

/// Two packets in, two out: whoever sends to a port gets what the other one sends.
const RELAY: &str = "
import selectors, socket
ports = selectors.DefaultSelector()
for port in range(40000, 40200):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('0.0.0.0', port)); s.setblocking(False)
    ports.register(s, selectors.EVENT_READ, [])
while True:
    for key, _ in ports.select():
        data, who = key.fileobj.recvfrom(65535)
        if who not in key.data: key.data.append(who)
        for other in key.data[-2:]:
            if other != who: key.fileobj.sendto(data, other)
";

/// One twin for all of them: each is another executable of the same project.
#[test]
fn no_mutant_passes() {
    let bed = Bed::new("mutants", FLEET).up();
    std::fs::write(bed.dir.path().join("relay.py"), RELAY).unwrap();
    let start_relay = format!(
        "cat > /run/relay.py <<'EOF'\n{RELAY}\nEOF\nsystemd-run --unit relay -q python3 /run/relay.py"
    );
    bed.on("hub", &start_relay);

    let honest = run(&bed, "honest");
    assert_eq!(
        honest.code, 0,
        "the proxy itself is to blame: {}",
        honest.stdout
    );

    let hollow = run(&bed, "hollow");
    assert_eq!(hollow.code, 1, "{}", hollow.stdout);
    assert!(
        all_fail_with(&bed, "digests do not match"),
        "{}",
        hollow.stdout
    );

    let lies = run(&bed, "lies");
    assert_eq!(lies.code, 1, "{}", lies.stdout);
    let relayed = stack_attempts(&bed)
        .into_iter()
        .filter(|a| a["claimed"] == "direct" && a["observed"]["path"] == "relayed")
        .count();
    assert!(relayed > 0, "{}", lies.stdout);
    let findings = bed.proof()["findings"].to_string();
    assert!(
        findings.contains("the stack's claim differs from the counted packets"),
        "{findings}"
    );

    let stale = run(&bed, "stale");
    assert_eq!(stale.code, 4, "{}", stale.stdout);
    assert!(
        bed.proof()["findings"]
            .to_string()
            .contains("what would be tested is not what was built"),
        "{}",
        stale.stdout
    );
    assert!(stack_attempts(&bed).is_empty(), "nothing may be tested");

    let stops = run(&bed, "stops");
    assert!(
        [1, 3, 4].contains(&stops.code),
        "{}: {}",
        stops.code,
        stops.stdout
    );
    assert_ne!(bed.proof()["verdict"], "PASS");
    let proof = bed.proof().to_string();
    assert!(
        proof.contains("closed its socket") || proof.contains("cannot reach the tester"),
        "{}",
        stops.stdout
    );

    let drops = run(&bed, "drops");
    assert!(
        [1, 3].contains(&drops.code),
        "{}: {}",
        drops.code,
        drops.stdout
    );
    assert_ne!(bed.proof()["verdict"], "PASS");
    assert!(
        bed.proof().to_string().contains("did not answer"),
        "{}",
        drops.stdout
    );
}

fn run(bed: &Bed, mutation: &str) -> Ran {
    let name = format!("mutant-{mutation}");
    let target = bed.dir.path().join("target");
    std::fs::create_dir_all(&target).unwrap();
    for file in ["udp-test", "vps-test-registry"] {
        std::fs::copy(built().join(file), target.join(file)).unwrap();
    }
    std::fs::copy(built().join("mutant-test"), target.join(&name)).unwrap();
    bed.configure(&name, &target);
    bed.start()
}

fn stack_attempts(bed: &Bed) -> Vec<Value> {
    let proof = bed.proof();
    let attempts = proof["attempts"].as_array().unwrap();
    attempts
        .iter()
        .filter(|a| a["matrix"] == "stack")
        .cloned()
        .collect()
}

fn all_fail_with(bed: &Bed, words: &str) -> bool {
    let attempts = stack_attempts(bed);
    let has = |a: &Value| {
        a["outcome"]["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains(words))
    };
    !attempts.is_empty() && attempts.iter().all(has)
}
