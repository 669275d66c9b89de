//! The twin's internet: moves every packet between the hosts, with the delay,
//! jitter, loss and rate of the ordered pair, and counts what it delivers.

mod counters;
mod forwarder;
mod lateness;
mod packet;
mod path;

pub use counters::Counters;
pub use forwarder::{Forwarder, Wire};
pub use lateness::Lateness;
