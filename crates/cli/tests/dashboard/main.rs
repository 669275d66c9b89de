//! The dashboard in a real browser and the metrics in a real Prometheus, while
//! `vps-test start` runs on a twin.

#[cfg(test)]
mod axe;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of `start` use the rest of it")]
#[path = "../start/bed.rs"]
mod bed;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod live;
#[cfg(test)]
mod process;
#[cfg(test)]
mod prometheus;
