//! The twin's internet: moves every packet between the hosts, with the delay,
//! jitter, loss and rate of the ordered pair, and counts what it delivers.

mod counters;
mod flows;
mod forwarder;
mod lateness;
mod packet;
mod path;

pub use forwarder::Forwarder;
pub use lateness::Lateness;
