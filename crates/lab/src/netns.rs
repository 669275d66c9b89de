//! Network namespaces without names: they live as long as somebody holds them.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::LabError;

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace(File);

impl From<OwnedFd> for Namespace {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }
}

impl Namespace {
    /// A new, empty one. The calling thread stays where it is.
    ///
    /// # Errors
    /// No right to make one.
    pub fn create() -> Result<Self, LabError> {
        std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(LabError::system("make a network namespace"))?;
            let path = "/proc/thread-self/ns/net";
            File::open(path)
                .map(Self)
                .map_err(LabError::file("open", path))
        })
        .join()
        .map_err(|_| LabError::Daemon("a thread panicked".into()))?
    }

    /// Runs `work` in a thread that is inside this namespace.
    ///
    /// # Errors
    /// No right to enter; or what `work` says.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)
                    .map_err(LabError::system("enter a network namespace"))?;
                work()
            });
            inside
                .join()
                .map_err(|_| LabError::Daemon("a thread panicked".into()))?
        })
    }

    /// Makes this namespace reachable by a path, in the current mount namespace.
    ///
    /// # Errors
    /// The path cannot be made.
    pub fn pin(&self, path: &Path) -> Result<(), LabError> {
        // Of the host's earlier boot; a mount point cannot be created over.
        let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
        File::create(path).map_err(LabError::file("create", path))?;
        let source = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.0));
        mount(
            Some(source.as_str()),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(LabError::system(format!(
            "pin a network namespace at {}",
            path.display()
        )))
    }

    /// Gives it `eth0`, a TUN device whose other end is the returned descriptor,
    /// with these addresses and a default route. Reads and writes on the
    /// descriptor carry a virtio header before each packet.
    ///
    /// # Errors
    /// No TUN, or `ip` refuses.
    pub fn attach(&self, addresses: &[IpAddr]) -> Result<OwnedFd, LabError> {
        self.run(|| {
            let device = tun_rs::DeviceBuilder::new()
                .name("eth0")
                .offload(true)
                .packet_information(false)
                .build_sync()
                .map_err(LabError::system("make the TUN device eth0"))?;
            device
                .set_nonblocking(true)
                .map_err(LabError::system("set up the TUN device eth0"))?;
            configure(addresses)?;
            // SAFETY: the descriptor was just given up by its only owner.
            #[expect(unsafe_code, reason = "tun-rs hands its descriptor over as a number")]
            Ok(unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) })
        })
    }
}

/// Long enough that a burst of a whole TCP window waits instead of being dropped.
const QUEUE_PACKETS: u32 = 20_000;

/// No address of the link: there is nobody on it to talk to.
fn configure(addresses: &[IpAddr]) -> Result<(), LabError> {
    let has_v6 = addresses.iter().any(IpAddr::is_ipv6);
    if has_v6 {
        let switch = Path::new("/proc/sys/net/ipv6/conf/all/disable_ipv6");
        std::fs::write(switch, "0").map_err(LabError::file(
            "turn on IPv6, which the inventory wants, at",
            switch,
        ))?;
    }
    let mut batch = format!(
        "link set lo up\nlink set eth0 addrgenmode none\naddr flush dev eth0\n\
         link set eth0 mtu 1500 txqueuelen {QUEUE_PACKETS} up\n"
    );
    for address in addresses {
        let rest = match address {
            IpAddr::V4(_) => "/32 dev eth0",
            IpAddr::V6(_) => "/128 dev eth0 nodad",
        };
        batch.push_str(&format!("addr add {address}{rest}\n"));
    }
    for (everywhere, is_family) in [
        ("0.0.0.0/0", IpAddr::is_ipv4 as fn(&IpAddr) -> bool),
        ("::/0", IpAddr::is_ipv6),
    ] {
        if let Some(first) = addresses.iter().find(|a| is_family(a)) {
            batch.push_str(&format!("route add {everywhere} dev eth0 src {first}\n"));
        }
    }
    ip_batch(&batch)
}

fn ip_batch(batch: &str) -> Result<(), LabError> {
    let failed = |detail: String| LabError::Command {
        command: "ip -batch -".into(),
        detail,
    };
    let ip = crate::preflight::find("ip").unwrap_or_else(|| "ip".into());
    let mut child = Command::new(ip)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(batch.as_bytes())
            .map_err(|e| failed(e.to_string()))?;
    }
    let output = child
        .wait_with_output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
