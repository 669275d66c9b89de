//! A certificate for people: each property, and the probes that show it.

use serde::Serialize;

use super::{Certificate, Filtering, Front, Inbound, Mapping, Observations};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Property {
    pub name: &'static str,
    pub value: String,
    /// A sentence a probe, with addresses.
    pub shown_by: Vec<String>,
}

/// In the order in which an engineer asks for them.
pub fn properties(seen: &Observations, certificate: &Certificate) -> Vec<Property> {
    let mut all = vec![mapping(seen, certificate)];
    if certificate.front != Front::UdpBlocked {
        all.extend([
            filtering(seen, certificate),
            preservation(seen, certificate),
            hairpin(seen, certificate),
            inbound(seen, certificate),
            timeout(seen, certificate),
        ]);
    }
    all
}

fn property(name: &'static str, value: &str, shown_by: Vec<String>) -> Property {
    Property {
        name,
        value: value.to_owned(),
        shown_by,
    }
}

fn mapping(seen: &Observations, certificate: &Certificate) -> Property {
    let value = match certificate.mapping {
        Some(Mapping::Eim) => "endpoint-independent (EIM)",
        Some(Mapping::Adm) => "address-dependent (ADM)",
        Some(Mapping::Apdm) => "address and port-dependent (APDM)",
        None if certificate.front == Front::UdpBlocked => "none: no UDP gets through",
        None => "not measured",
    };
    let local = seen.mapping.local;
    let sentence = |(by, at): &(std::net::SocketAddr, Option<std::net::SocketAddr>)| match at {
        Some(at) => format!("{by} saw {local} as {at}"),
        None => format!("{by} did not answer {local}"),
    };
    property(
        "mapping",
        value,
        seen.mapping.seen_by.iter().map(sentence).collect(),
    )
}

fn filtering(seen: &Observations, certificate: &Certificate) -> Property {
    let value = match certificate.filtering {
        Some(Filtering::Eif) => "endpoint-independent (EIF)",
        Some(Filtering::Adf) => "address-dependent (ADF)",
        Some(Filtering::Apdf) => "address and port-dependent (APDF)",
        None => "not measured",
    };
    let (probe, known) = (&seen.filtering, &seen.mapping.seen_by);
    let Some((mapped, (first, _))) = probe.mapped.zip(known.first()) else {
        return property("filtering", value, Vec::new());
    };
    let came = |came: bool| if came { "came through" } else { "was filtered" };
    let mut shown = vec![match known.get(1) {
        Some((other, _)) => format!(
            "after {mapped} had sent to {first} alone, a datagram from {other} {}",
            came(probe.from_other_port)
        ),
        None => format!("{mapped} had sent to {first} alone"),
    }];
    shown.extend(
        probe
            .from_other_address
            .zip(known.get(2))
            .map(|(through, (third, _))| format!("and one from {third} {}", came(through))),
    );
    property("filtering", value, shown)
}

fn preservation(seen: &Observations, certificate: &Certificate) -> Property {
    let local = seen.mapping.local.port();
    let outer: Vec<String> = seen
        .mapping
        .seen_by
        .iter()
        .filter_map(|(_, at)| Some(at.as_ref()?.port().to_string()))
        .collect();
    let shown = format!("inner port {local}, outer ports {}", outer.join(", "));
    property(
        "port preservation",
        yes_or_no(certificate.port_preservation),
        vec![shown],
    )
}

fn hairpin(seen: &Observations, certificate: &Certificate) -> Property {
    let mapped = seen.mapping.seen_by.first().and_then(|(_, at)| *at);
    let shown = certificate.hairpin.zip(mapped).map(|(came, mapped)| {
        let what = if came {
            "came back"
        } else {
            "did not come back"
        };
        format!("a datagram from another inner port to {mapped} {what}")
    });
    property(
        "hairpin",
        yes_or_no(certificate.hairpin),
        shown.into_iter().collect(),
    )
}

fn inbound(seen: &Observations, certificate: &Certificate) -> Property {
    let value = match certificate.inbound {
        Some(Inbound::Dropped) => "dropped, no state",
        Some(Inbound::CreatesState) => "creates state that takes the port",
        None => "not measured",
    };
    let probe = &seen.filtering;
    let shown = certificate
        .inbound
        .and(probe.seen_after_inbound)
        .zip(probe.mapped)
        .map(|(after, before)| {
            format!("{before} was still {after} for one whose datagrams had been filtered before")
                .replace(
                    "was still",
                    if before == after {
                        "was still"
                    } else {
                        "had become"
                    },
                )
        });
    property("filtered inbound", value, shown.into_iter().collect())
}

fn timeout(seen: &Observations, certificate: &Certificate) -> Property {
    let value = certificate
        .udp_timeout
        .map_or("not measured".to_owned(), |lifetime| lifetime.to_string());
    let shown = seen.silences.iter().map(|silence| {
        let seconds = silence.milliseconds as f64 / 1000.0;
        let what = if silence.came_through {
            "came through"
        } else {
            "was filtered"
        };
        format!("an answer after {seconds} s of silence {what}")
    });
    property("UDP timeout", &value, shown.collect())
}

fn yes_or_no(measured: Option<bool>) -> &'static str {
    match measured {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not measured",
    }
}
