//! What is left after a host has restarted.

use std::time::Instant;

use fleet::Host;
use lab::HostState;
use model::nat::Behaviour;

use crate::nat::{PATH, nat_box};
use crate::nat_boxes::{behaviour_behind, install_prober};
use crate::twin::{SOON, alone, connect, report, sh};

/// Restarts a whole host and connects again.
async fn reboot(host: Host) -> Host {
    let name = host.name().to_string();
    let before = report(&name).reboots;
    // The host may be gone before it has answered.
    let _ = host.script("systemctl reboot", None, SOON).await;
    drop(host);
    let began = Instant::now();
    loop {
        let now = report(&name);
        if now.reboots > before && now.state == HostState::Ready {
            return connect(&name).await;
        }
        let waiting = began.elapsed() < SOON && !matches!(now.state, HostState::Off(_));
        assert!(waiting, "{name} did not come back: {now:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Writes its rules late in the boot, as Docker does.
const DOCKER: &str = "cat > /etc/docker.nft <<'END'
table ip filter {
  chain DOCKER-USER { }
  chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
}
END
cat > /etc/systemd/system/docker.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sleep 1
ExecStart=/usr/sbin/nft -f /etc/docker.nft
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload && systemctl enable -q --now docker 2>/dev/null";

const NO_DOCKER: &str = "systemctl disable -q --now docker 2>/dev/null
rm /etc/systemd/system/docker.service /etc/docker.nft
nft delete table ip filter; systemctl daemon-reload";

#[tokio::test]
async fn a_box_and_what_is_behind_it_survive_a_reboot() {
    let (host, _alone) = alone("nat-2").await;
    sh(&host, DOCKER).await;
    host.apply_nat(&nat_box(Behaviour::PORT_RESTRICTED))
        .await
        .unwrap();
    install_prober(&host).await;
    let host = reboot(host).await;
    sh(&host, "systemctl is-system-running --wait || true").await;
    let there = sh(
        &host,
        "ip netns list; nft list tables; systemctl is-active vps-test-natbox t-prober",
    );
    let there = there.await;
    for line in ["natbox", "table ip vps_test_natbox"] {
        assert!(there.lines().any(|l| l.starts_with(line)), "{there}");
    }
    let behaviour = behaviour_behind(&host, "t-prober").await;
    assert_eq!(behaviour, Some(Behaviour::PORT_RESTRICTED));
    sh(&host, NO_DOCKER).await;
    host.clean(PATH).await.unwrap();
}
