//! `start --fleet`: hosts of one's own, which count their own packets.
//!
//! The hosts are a twin's, and nothing tells the program so: it gets an inventory
//! with their addresses, and the ssh configuration of its user leads there.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bed::{BINARY, Bed, FLEET, Ran, SYMMETRIC, node, ran};

/// In a mount namespace where `~/.ssh/config` is the twin's.
fn as_fleet(bed: &Bed, words: &[&str]) -> Ran {
    let ssh_config = bed.run(&["lab", "ssh-config", "--name", bed.twin()]);
    let home = nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap()
        .dir;
    let script = "mkdir -p \"$1\" && mount -t tmpfs tmpfs \"$1\" && cp \"$2\" \"$1/config\" && chmod 600 \"$1/config\" || exit 9
shift 2; exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(home.join(".ssh"))
        .arg(ssh_config.stdout.trim())
        .arg(BINARY)
        .args(words)
        .current_dir(bed.dir.path())
        .env("VPS_TEST_STATE_DIR", bed.state())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    ran(&output)
}

/// The same nodes at the addresses that they have in the twin.
fn inventory() -> String {
    let text = format!("{FLEET}{SYMMETRIC}");
    let fleet = model::inventory::read("fleet", &text).unwrap();
    let mut text = text;
    // The last first, as one address is the beginning of others.
    for (index, node) in (1..)
        .zip(&fleet.nodes)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        text = text.replace(&node.address().to_string(), &format!("198.18.{index}.10"));
    }
    text
}

#[test]
fn hosts_count_their_own_packets() {
    let bed = Bed::new("real", &format!("{FLEET}{SYMMETRIC}")).up();
    std::fs::write(bed.dir.path().join("mine.yaml"), inventory()).unwrap();
    // nft is not there on `two`, a public host.
    bed.on("two", "mount --bind /dev/null /usr/sbin/nft");
    let start = [
        "start",
        "plain-udp",
        "connectivity",
        "threshold",
        "logs",
        "--yes",
        "--soak",
        "0",
        "--fleet",
        "mine.yaml",
    ];
    let ran = as_fleet(&bed, &start);
    // Plain UDP has no relay, so the two cells that need one fail.
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let proof = bed.proof();
    assert_eq!(proof["plan"]["runs_on"], "fleet mine.yaml");
    for cell in proof["matrix"].as_array().unwrap() {
        let pair = (cell["from"].as_str().unwrap(), cell["to"].as_str().unwrap());
        let expected = match pair {
            ("two", _) | (_, "two") => "unmeasured",
            ("port", "hard") | ("hard", "port") => "none",
            _ => "direct",
        };
        assert_eq!(cell["observed"], expected, "{pair:?}");
    }
    says_who_does_not_count(&proof);
    clean_removes_the_counters(&bed);
}

fn says_who_does_not_count(proof: &Value) {
    let findings = proof["findings"].to_string();
    assert!(
        findings.contains("the paths of attempts with two are unmeasured")
            && findings.contains("install nftables"),
        "{findings}"
    );
    let attempts = proof["attempts"].as_array().unwrap();
    let unmeasured = attempts
        .iter()
        .filter(|a| a["observed"]["path"] == "unmeasured");
    for attempt in unmeasured {
        let why = attempt["observed"]["unmeasured"].as_str().unwrap();
        assert!(why.contains("two: ") && why.contains("nft"), "{why}");
    }
    assert_eq!(
        node(proof, "two")["reached"],
        "reached",
        "it takes part all the same"
    );
}

fn clean_removes_the_counters(bed: &Bed) {
    let tables = "nft list tables | grep -c vps_test; true";
    assert_eq!(bed.on("one", tables).trim(), "1");
    assert_eq!(bed.on("cone", tables).trim(), "2", "its NAT box is another");
    let ran = as_fleet(bed, &["clean", "--fleet", "mine.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for node in ["one", "cone"] {
        assert_eq!(bed.on(node, tables).trim(), "0");
    }
}
