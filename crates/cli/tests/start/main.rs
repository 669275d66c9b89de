//! `vps-test start` as a user runs it: the real binary on real twins.

#[cfg(test)]
mod ant_quic;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod bring_your_own;
#[cfg(test)]
mod build;
#[cfg(test)]
mod explanations;
#[cfg(test)]
mod fix_loop;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod look;
#[cfg(test)]
mod loops;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod nat_traversal;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod real_fleet;
#[cfg(test)]
mod repro;
#[cfg(test)]
mod result;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod side_by_side;
#[cfg(test)]
mod stacks;
#[cfg(test)]
mod testers;
#[cfg(test)]
mod throughput;
#[cfg(test)]
mod words;
