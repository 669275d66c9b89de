//! `vps-test start` as a user runs it: the real binary on real twins.

#[cfg(test)]
mod ant_quic;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod result;
#[cfg(test)]
mod testers;
#[cfg(test)]
mod words;
