//! Packets themselves: tcpdump on a host, in rings that hold the newest, and
//! what belongs to an attempt cut out of them as pcapng.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use crate::error::FleetError;
use crate::host::Host;

/// Removed by `clean`, with `/var/lib/vps-test`.
const DIRECTORY: &str = "/var/lib/vps-test/captures";

/// Units of it, by a pattern that systemctl knows.
pub(crate) const UNITS: &str = "vps-test-capture-*.service";

/// Files of a ring, and millions of bytes of each.
const FILES: u32 = 4;
const FILE_MB: u32 = 8;

const SOON: Duration = Duration::from_secs(30);

/// Where on a host packets are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vantage {
    /// The interface to the internet, outside of any NAT box.
    Outside,
    /// The NAT box's inner interface.
    Inside,
}

impl Vantage {
    pub fn word(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Inside => "inside",
        }
    }
}

impl Host {
    /// Captures UDP from now on. Ends by itself after twelve hours.
    ///
    /// # Errors
    /// There is no tcpdump, or it does not start.
    pub async fn start_capture(&self) -> Result<(), FleetError> {
        let script = format!(
            "set -eu
command -v tcpdump >/dev/null || {{ echo 'tcpdump is not there; install tcpdump' >&2; exit 1; }}
outside=$(ip -o -4 route get 192.0.2.1 | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')
systemctl stop '{UNITS}' 2>/dev/null || true
rm -rf {DIRECTORY}; mkdir -p {DIRECTORY}
start() {{
  systemd-run -q --collect --unit=vps-test-capture-$1 -p RuntimeMaxSec=12h \\
    tcpdump -i $2 -n -U -Z root -s 0 -B 8192 -C {FILE_MB} -W {FILES} -w {DIRECTORY}/$1 udp
}}
start outside $outside
if [ -e /sys/class/net/natbox0 ]; then start inside natbox0; fi
tries=0
until ls {DIRECTORY}/outside* >/dev/null 2>&1; do
  tries=$((tries + 1)); [ $tries -lt 50 ] || {{ echo 'tcpdump does not start' >&2; exit 1; }}
  sleep 0.1
done"
        );
        self.script_ok(&script, None, SOON).await.map(drop)
    }

    /// # Errors
    /// The session broke.
    pub async fn stop_capture(&self) -> Result<(), FleetError> {
        let script = format!("systemctl stop '{UNITS}' 2>/dev/null; rm -rf {DIRECTORY}");
        self.script_ok(&script, None, SOON).await.map(drop)
    }

    /// What was captured of these ports, as pcapng; `None` where nothing was.
    ///
    /// # Errors
    /// The session broke, or what came is no capture.
    pub async fn captured(
        &self,
        vantage: Vantage,
        ports: &[u16],
    ) -> Result<Option<Vec<u8>>, FleetError> {
        let filter: Vec<String> = ports.iter().map(|port| format!("port {port}")).collect();
        // A file that is being written ends in the middle of a packet.
        let script = format!(
            "cd {DIRECTORY} || exit 1
for file in $(ls -tr {name}* 2>/dev/null); do tcpdump -Z root -r $file -w - '{filter}' || true; done",
            name = vantage.word(),
            filter = filter.join(" or ")
        );
        let output = self.script(&script, None, SOON).await?;
        let failed = |stderr: String| FleetError::Failed {
            node: self.name().clone(),
            command: format!("tcpdump -r {DIRECTORY}/{}", vantage.word()),
            status: output.status.code().unwrap_or(-1),
            stderr,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let mut complaints = said
            .lines()
            .filter(|line| line.starts_with("tcpdump: ") && !line.contains("truncated"));
        if let Some(complaint) = complaints.next() {
            return Err(failed(complaint.to_owned()));
        }
        if !output.status.success() {
            return Err(failed(said.trim().to_owned()));
        }
        let interface = format!("{} {}", self.name(), vantage.word());
        to_pcapng(&output.stdout, &interface).map_err(|e| failed(e.to_string()))
    }
}

/// The magic of a pcap file in microseconds, as this and every other machine of
/// the same byte order writes it.
const MAGIC: [u8; 4] = 0xa1b2_c3d4_u32.to_ne_bytes();

/// One pcap file after the other, to one pcapng.
fn to_pcapng(mut rest: &[u8], interface: &str) -> Result<Option<Vec<u8>>, pcap_file::PcapError> {
    let mut out: Option<PcapNgWriter<Vec<u8>>> = None;
    let mut packets = 0;
    while rest.starts_with(&MAGIC) {
        let (after, parser) = PcapParser::new(rest)?;
        rest = after;
        if out.is_none() {
            let mut writer = PcapNgWriter::new(Vec::new())?;
            writer.write_pcapng_block(InterfaceDescriptionBlock {
                linktype: parser.header().datalink,
                snaplen: parser.header().snaplen,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Owned(interface.to_owned())),
                    // Nanoseconds, which is what this writer writes.
                    InterfaceDescriptionOption::IfTsResol(9),
                ],
            })?;
            out = Some(writer);
        }
        while !rest.is_empty() && !rest.starts_with(&MAGIC) {
            let (after, packet) = parser.next_packet(rest)?;
            rest = after;
            packets += 1;
            if let Some(writer) = &mut out {
                writer.write_pcapng_block(EnhancedPacketBlock {
                    interface_id: 0,
                    timestamp: packet.timestamp,
                    original_len: packet.orig_len,
                    data: packet.data,
                    options: Vec::new(),
                })?;
            }
        }
    }
    Ok(out.filter(|_| packets > 0).map(PcapNgWriter::into_inner))
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::PcapNgReader;

    use super::*;

    /// A file with one packet of four bytes, this many microseconds after 1970.
    fn pcap(micros: u32) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(2_u16.to_ne_bytes());
        file.extend(4_u16.to_ne_bytes());
        for word in [0_u32, 0, 65_535, 101, 0, micros, 4, 60] {
            file.extend(word.to_ne_bytes());
        }
        file.extend([1, 2, 3, 4]);
        file
    }

    #[test]
    fn files_of_a_ring_become_one() {
        let ring = [pcap(7), pcap(9)].concat();
        let bytes = to_pcapng(&ring, "cone outside").unwrap().unwrap();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Some(packet) = block.unwrap().into_enhanced_packet() {
                seen.push((packet.timestamp, packet.original_len, packet.data.len()));
            }
        }
        let micros = Duration::from_micros;
        assert_eq!(seen, [(micros(7), 60, 4), (micros(9), 60, 4)]);
    }

    #[test]
    fn nothing_captured_is_no_file() {
        assert_eq!(to_pcapng(&[], "x").unwrap(), None);
        let only_header = &pcap(7)[..24];
        assert_eq!(to_pcapng(only_header, "x").unwrap(), None);
    }
}
