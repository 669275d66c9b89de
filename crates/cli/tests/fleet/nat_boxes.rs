//! NAT boxes: what they are, that they stay, and that they leave nothing.

use fleet::{Host, NatBox};
use model::nat::{Behaviour, Front};
use model::protocol::PortRange;

use crate::nat::{CLASSIC, PATH, measure, measure_from, nat_box, prober};
use crate::twin::{address, alone, sh};

pub async fn behaviour_behind(host: &Host, name: &str) -> Option<Behaviour> {
    let certificate = measure(host, name).await;
    assert_eq!(certificate.front, Front::Nat, "{certificate:#?}");
    assert!(!certificate.partial);
    certificate.behaviour()
}

pub async fn install_prober(host: &Host) {
    let services = [prober(host, "t-prober")];
    host.install(&services, PATH, |_, _| {}).await.unwrap();
}

async fn clean(host: &Host) {
    host.clean(PATH).await.unwrap();
}

#[tokio::test]
async fn each_classic_type_is_measured_as_what_it_is_said_to_be() {
    let (host, _alone) = alone("nat-1").await;
    for behaviour in CLASSIC {
        host.apply_nat(&nat_box(behaviour)).await.unwrap();
        install_prober(&host).await;
        assert_eq!(behaviour_behind(&host, "t-prober").await, Some(behaviour));
    }
    clean(&host).await;
}

#[tokio::test]
async fn boxes_that_are_exchanged_exchange_their_certificates() {
    let (one, _alone) = alone("nat-1").await;
    let (other, _alone) = alone("nat-2").await;
    let [cone, symmetric] = [Behaviour::FULL_CONE, Behaviour::SYMMETRIC];
    for (first, second) in [(cone, symmetric), (symmetric, cone)] {
        let (first_box, second_box) = (nat_box(first), nat_box(second));
        let (a, b) = tokio::join!(one.apply_nat(&first_box), other.apply_nat(&second_box));
        a.and(b).unwrap();
        tokio::join!(install_prober(&one), install_prober(&other));
        let measured = tokio::join!(
            behaviour_behind(&one, "t-prober"),
            behaviour_behind(&other, "t-prober")
        );
        assert_eq!(measured, (Some(first), Some(second)));
    }
    clean(&one).await;
    clean(&other).await;
}

#[tokio::test]
async fn a_box_that_is_as_asked_is_left_alone_and_a_damaged_one_is_mended() {
    let (host, _alone) = alone("nat-2").await;
    let asked = nat_box(Behaviour::ADDRESS_RESTRICTED);
    let state = "systemctl show -p ActiveEnterTimestampMonotonic vps-test-natbox; nft -a list table ip vps_test_natbox | grep chain; \
                 stat -c %i /run/netns/natbox";
    host.apply_nat(&asked).await.unwrap();
    let before = sh(&host, state).await;
    host.apply_nat(&asked).await.unwrap();
    assert_eq!(sh(&host, state).await, before);

    sh(&host, "nft flush ruleset").await;
    host.apply_nat(&asked).await.unwrap();
    sh(&host, "nft list table ip vps_test_natbox").await;
    clean(&host).await;
}

#[tokio::test]
async fn a_box_waits_for_a_host_whose_network_comes_late() {
    let (host, _alone) = alone("nat-1").await;
    host.apply_nat(&nat_box(Behaviour::PORT_RESTRICTED))
        .await
        .unwrap();
    let late = "route=$(ip -4 route show default); ip route del default
(sleep 1.5; ip route add $route) >/dev/null 2>&1 &
systemctl restart vps-test-natbox && nft list table ip vps_test_natbox";
    let rules = sh(&host, late).await;
    let outer = format!("snat to {}", address("nat-1"));
    assert!(
        rules.contains(&outer) && rules.contains("\"eth0\""),
        "{rules}"
    );
    clean(&host).await;
}

#[tokio::test]
async fn a_host_that_forwards_nothing_of_others_forwards_the_boxes_and_is_left_as_it_was() {
    let (host, _alone) = alone("nat-2").await;
    // What Docker makes, with a rule of somebody else's; and a second firewall.
    sh(
        &host,
        "nft -f - <<'E'
table ip filter {
  chain DOCKER-USER { ip saddr 203.0.113.1 drop comment \"theirs\"; }
  chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
}
table inet firewall {
  chain forward { type filter hook forward priority filter; policy drop; }
}
E",
    )
    .await;
    let before = sh(&host, "nft list ruleset").await;
    host.apply_nat(&nat_box(Behaviour::FULL_CONE))
        .await
        .unwrap();
    install_prober(&host).await;
    let behaviour = behaviour_behind(&host, "t-prober").await;
    assert_eq!(behaviour, Some(Behaviour::FULL_CONE));

    sh(&host, "systemctl stop t-prober").await;
    host.remove_nat().await.unwrap();
    assert_eq!(sh(&host, "nft list ruleset").await, before);
    assert_eq!(
        sh(&host, "cat /proc/sys/net/ipv4/conf/eth0/forwarding").await,
        "0"
    );
    host.remove_nat().await.unwrap();
    sh(&host, "nft flush ruleset").await;
    clean(&host).await;
}

#[tokio::test]
async fn two_services_share_one_box() {
    let (host, _alone) = alone("nat-1").await;
    host.apply_nat(&nat_box(Behaviour::ADDRESS_RESTRICTED))
        .await
        .unwrap();
    let services = [prober(&host, "t-first"), prober(&host, "t-second")];
    host.install(&services, PATH, |_, _| {}).await.unwrap();
    let low = PortRange {
        first: 12000,
        last: 15999,
    };
    let high = PortRange {
        first: 16000,
        last: 19999,
    };
    let (first, second) = tokio::join!(
        measure_from(&host, "t-first", low),
        measure_from(&host, "t-second", high)
    );
    for certificate in [first, second] {
        assert_eq!(certificate.behaviour(), Some(Behaviour::ADDRESS_RESTRICTED));
        assert_eq!(certificate.port_preservation, Some(true));
    }
    clean(&host).await;
}

#[tokio::test]
async fn a_restarted_box_takes_its_services_with_it() {
    let (host, _alone) = alone("nat-1").await;
    host.apply_nat(&nat_box(Behaviour::SYMMETRIC))
        .await
        .unwrap();
    install_prober(&host).await;
    let inside = format!(
        "[ $(stat -Lc %i /proc/$(systemctl show -p MainPID --value t-prober)/ns/net) = $(stat -c %i {}) ] && echo inside",
        NatBox::NETNS
    );
    assert_eq!(sh(&host, &inside).await, "inside");
    host.apply_nat(&nat_box(Behaviour::PORT_RESTRICTED))
        .await
        .unwrap();
    assert_eq!(sh(&host, &inside).await, "inside");
    clean(&host).await;
}
