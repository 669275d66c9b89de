//! Connecting, facts, forwarded sockets.

use std::time::Duration;

use fleet::{FleetError, Host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::twin::{SOON, alone, connect, node, reach, sh};

#[tokio::test]
async fn a_host_is_reached_by_its_hostname() {
    assert_eq!(connect("pub-1").await.reached_by, "pub-1.example");
}

#[tokio::test]
async fn a_host_whose_name_leads_nowhere_is_reached_by_its_address() {
    let mut node = node("pub-1");
    node.hostname = "nobody.example".into();
    let host = Host::connect(&reach(), &node).await.unwrap();
    assert_eq!(host.reached_by, "192.0.2.1");
    assert_eq!(sh(&host, "hostname").await, "pub-1");
}

#[tokio::test]
async fn a_closed_ssh_port_names_the_node_and_a_command_to_try() {
    let (host, _alone) = alone("spare").await;
    // Another command than the session's has to start it again.
    sh(&host, "systemctl stop ssh.service").await;
    let failed = Host::connect(&reach(), &node("spare")).await;
    sh(&host, "systemctl start ssh.service").await;
    let error = failed.unwrap_err();
    let FleetError::Unreachable { node, by_hand, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(node.as_str(), "spare");
    let config = reach().ssh_config.unwrap();
    assert_eq!(
        *by_hand,
        format!("ssh -F {} -p 2222 root@192.0.2.5 true", config.display())
    );
    Host::connect(&reach(), &self::node("spare")).await.unwrap();
}

#[tokio::test]
async fn a_changed_host_key_is_never_passed_over() {
    let (host, _alone) = alone("spare").await;
    let key = "/etc/ssh/ssh_host_ed25519_key";
    sh(
        &host,
        &format!(
            "mkdir /root/kept && mv {key} {key}.pub /root/kept/ && ssh-keygen -q -t ed25519 -N '' -f {key} && \
             systemctl restart ssh.service"
        ),
    )
    .await;
    let mut tempting = node("spare");
    tempting.addresses = self::node("pub-1").addresses;
    let failed = Host::connect(&reach(), &tempting).await;
    sh(
        &host,
        "mv /root/kept/* /etc/ssh/ && rmdir /root/kept && systemctl restart ssh.service",
    )
    .await;
    let error = failed.unwrap_err();
    let FleetError::HostKeyChanged { node, by_hand } = &error else {
        panic!("{error}");
    };
    assert_eq!(node.as_str(), "spare");
    assert!(
        by_hand.starts_with("ssh-keygen -f ") && by_hand.ends_with("known_hosts -R spare"),
        "{by_hand}"
    );
}

#[tokio::test]
async fn a_session_that_was_cut_says_so_and_looks_for_no_other_host() {
    let (host, _alone) = alone("spare").await;
    // The parent of the session's shell is what sshd has for this connection.
    let _ = host.script("kill $PPID", None, SOON).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!host.is_reachable().await);
    assert!(host.forward_socket("/run/x.sock", "x").await.is_err());
    let error = host.script("true", None, SOON).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("spare: `true` could not be run"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_host_says_of_itself_is_true() {
    let host = connect("pub-2").await;
    let facts = host.facts("/opt/never made").await.unwrap();
    let here = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(facts.kernel, format!("Linux {}", here.trim()));
    assert_eq!(facts.arch, std::env::consts::ARCH);
    assert!((1..=1 << 30).contains(&facts.free_bytes), "{facts:?}");
    assert!(facts.clock_skew_ms.abs() < 1000, "{facts:?}");
    let made = sh(&host, "ls /opt").await;
    assert!(
        !made.contains("never made"),
        "looking made a directory: {made}"
    );
}

#[tokio::test]
async fn udp_ports_in_use_are_listed() {
    let host = connect("pub-2").await;
    let listen = "systemd-run -q --unit=listener --property=Type=exec \
                  python3 -c 'import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind((\"\",45678)); time.sleep(60)'";
    sh(&host, listen).await;
    let began = std::time::Instant::now();
    while !host.facts("/opt").await.unwrap().udp_ports.contains(&45678) {
        assert!(began.elapsed() < SOON);
    }
    sh(&host, "systemctl stop listener").await;
    let after = host.facts("/opt").await.unwrap();
    assert!(!after.udp_ports.contains(&45678));
}

#[tokio::test]
async fn a_unix_socket_of_the_host_is_reachable_here() {
    let host = connect("pub-2").await;
    let program = "import socket
s = socket.socket(socket.AF_UNIX)
s.bind('/run/echo.sock')
s.listen()
while True:
    c, _ = s.accept()
    c.sendall(c.recv(100))
    c.close()";
    let start = format!(
        "systemd-run -q --unit=echo python3 -c {}; until [ -S /run/echo.sock ]; do sleep 0.05; done",
        fleet::quote(program)
    );
    sh(&host, &start).await;
    let forwarded = host.forward_socket("/run/echo.sock", "echo").await.unwrap();
    for words in ["first", "second"] {
        let mut stream = UnixStream::connect(&forwarded.path).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, words);
    }
    sh(&host, "systemctl stop echo; rm /run/echo.sock").await;
}
