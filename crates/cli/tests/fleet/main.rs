//! The crate `fleet` against real hosts: one small twin for all tests.

#[cfg(test)]
mod deploy;
#[cfg(test)]
mod nat;
#[cfg(test)]
mod nat_boxes;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod reboot;
#[cfg(test)]
mod twin;
